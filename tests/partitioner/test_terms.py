from random import Random

import numpy as np
import pytest

from partitioner.messages import carry, route_over
from partitioner.problem import Problem
from partitioner.search.terms import terms_of
from partitioner.tables import Ints, Prices, price_list
from tests.partitioner.builders import NAMES, random_problem, site


def drawn(seed: int) -> tuple[Prices, Ints, Random]:
    """Prices of a three-tier problem, and positions along camera | mec | cloud that its edges allow."""
    draw = Random(seed)
    problem = random_problem(seed, tiers=3, operators=6)
    position_of: list[int] = []
    for operator in problem.graph.operators:
        before = [position_of[int(name[1:])] for name in operator.inputs if name.startswith("t")]
        position_of.append(draw.randint(max(before, default=1), 3))
    return price_list(problem), np.array(position_of, np.int64), draw


def bounds_and_prices(problem: Problem, prices: Prices, at: Ints, low: Ints, high: Ints) -> list[tuple[float, float]]:
    """What the terms charge for each tensor carried, and what it costs."""
    route = route_over(problem, [site(name) for name in NAMES])
    assert route is not None
    terms = terms_of(prices, route, low, high)
    found = []
    for one in carry(prices, route, at):
        last = one.read_at[-1] if one.read_at else one.position
        steps = terms.step[one.position + 1 : last + 1, one.tensor]
        found.append((float(terms.own[one.position, one.tensor] + steps.sum()), one.seconds))
    return found


@pytest.mark.parametrize("block", range(4))
def test_terms_never_charge_more_than_any_allowed_positions_cost(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        prices, at, draw = drawn(seed)
        low = np.array([draw.randint(1, one) for one in at], np.int64)
        high = np.array([draw.randint(one, 3) for one in at], np.int64)
        for bound_s, price_s in bounds_and_prices(prices.problem, prices, at, low, high):
            assert bound_s <= price_s * (1 + 1e-9)


@pytest.mark.parametrize("block", range(4))
def test_terms_are_exact_once_positions_are_known(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        prices, at, _ = drawn(seed)
        for bound_s, price_s in bounds_and_prices(prices.problem, prices, at, at, at):
            assert bound_s == pytest.approx(price_s, rel=1e-9)


def test_raw_terms_are_exact_wherever_operators_stand() -> None:
    for seed in range(60):
        prices, at, _ = drawn(seed)
        if prices.problem.max_error:
            continue
        low, high = np.ones_like(at), np.full_like(at, 3)
        for bound_s, price_s in bounds_and_prices(prices.problem, prices, at, low, high):
            assert bound_s == pytest.approx(price_s, rel=1e-9)
