"""Machines with the live batching core: queues as theory has them, batches as a recursion of three lines has them.

Means are held at four standard deviations (of 40 batches), with fixed seeds; identities to the digit.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from nodes.batching import BatchRules
from simulations.engine import Engine
from simulations.machines import Curve, Machine, Work, batch_factor
from simulations.radio.path_loss import Floats

MANY, BATCHES = 20_000, 40
STAGE = (1, "all")
AT_ONCE = BatchRules(queue_limit=1_000_000)


def fed(
    machine: Machine,
    engine: Engine,
    at_s: Floats,
    seconds: Floats,
    deadline_s: float = np.inf,
    curve: Curve | None = None,
) -> list[Work]:
    """Let work come; it, with `attempt` the moment at which it was served, NaN for what never was."""
    works = [Work(STAGE, float(each), np.nan, curve=curve) for each in seconds]

    def serve(work: Work) -> None:
        work.attempt = engine.now_s

    def come(number: int) -> None:
        machine.submit(works[number], engine.now_s + deadline_s)
        if number + 1 < len(works):
            engine.at(float(at_s[number + 1]), come, number + 1)

    machine.served = serve
    engine.at(float(at_s[0]), come, 0)
    engine.run()
    return works


def spent(machine: Machine, engine: Engine, at_s: Floats, seconds: Floats) -> Floats:
    """How long each is there; NaN for one that was refused."""
    return np.array([work.attempt for work in fed(machine, engine, at_s, seconds)]) - at_s


def poisson(per_s: float, many: int = MANY, seed: int = 1) -> tuple[Floats, np.random.Generator]:
    draw = np.random.default_rng(seed)
    return np.cumsum(draw.exponential(1 / per_s, many)), draw


def four_sd(each: Floats) -> float:
    """Of the mean of what follows each other, by the means of batches; NaN does not count."""
    return float(4 * np.nanmean(each.reshape(BATCHES, -1), axis=1).std(ddof=1) / np.sqrt(BATCHES))


def work_of(scv: float, draw: np.random.Generator) -> Floats:
    return draw.gamma(1 / scv, scv, MANY) if scv else np.ones(MANY)


@pytest.mark.parametrize(("scv", "wait_s"), [(1, 2.33333), (0, 1.16667), (0.25, 1.45833), (4, 5.83333)])
def test_one_server_waits_as_pollaczek_and_khinchine_say(scv: float, wait_s: float) -> None:
    at_s, draw = poisson(0.7, seed=2)
    work, engine = work_of(scv, draw), Engine()
    waits_s = spent(Machine(engine, "m", 1, AT_ONCE), engine, at_s, work) - work
    assert waits_s.mean() == pytest.approx(wait_s, abs=four_sd(waits_s))


def test_one_server_of_exponential_work_has_an_exponential_tail() -> None:
    at_s, draw = poisson(0.7, seed=3)
    engine = Engine()
    spent_s = spent(Machine(engine, "m", 1, AT_ONCE), engine, at_s, draw.exponential(1.0, MANY))
    tails = np.quantile(spent_s.reshape(20, -1), 0.99, axis=1)
    assert np.quantile(spent_s, 0.99) == pytest.approx(15.3506, abs=4 * tails.std(ddof=1) / np.sqrt(20))


@pytest.mark.parametrize(("servers", "load", "wait_s"), [(2, 0.7, 0.960784), (4, 0.8, 0.745541), (8, 0.9, 0.876916)])
def test_several_servers_wait_as_erlang_c_says(servers: int, load: float, wait_s: float) -> None:
    at_s, draw = poisson(servers * load, seed=4)
    work, engine = draw.exponential(1.0, MANY), Engine()
    waits_s = spent(Machine(engine, "m", servers, AT_ONCE), engine, at_s, work) - work
    assert waits_s.mean() == pytest.approx(wait_s, abs=four_sd(waits_s))


def test_a_full_queue_refuses_as_often_as_mm1k_says_and_counts_it() -> None:
    at_s, draw = poisson(0.9, seed=5)
    engine = Engine()
    machine = Machine(engine, "m", 1, BatchRules(queue_limit=9))  # and one that is served: ten in all
    spent_s = spent(machine, engine, at_s, draw.exponential(1.0, MANY))
    is_refused = np.isnan(spent_s)
    assert is_refused.mean() == pytest.approx(0.050814, abs=four_sd(is_refused.astype(np.float64)))
    assert np.nanmean(spent_s) == pytest.approx(4.646601, abs=four_sd(spent_s))
    held = machine.held
    assert (held.came, held.refused, held.left) == (MANY, is_refused.sum(), MANY - is_refused.sum())


def test_as_many_wait_as_the_limit_says() -> None:
    machine = Machine(Engine(), "m", 2, BatchRules(queue_limit=3))
    assert [machine.submit(Work(STAGE, 1.0)) for _ in range(7)] == [True] * 5 + [False] * 2


def bulk(at_s: Sequence[float], work: Sequence[float], curve: dict[int, float], most: int, delay_s: float) -> Floats:
    """When each is through, of one server that takes all who wait, `most` at once, or lets the first wait for more."""
    rows, seconds = zip(*sorted(curve.items()), strict=True)
    ends, first, free_s = list[float](), 0, 0.0
    while first < len(at_s):
        full_s = at_s[first + most - 1] if first + most <= len(at_s) else np.inf
        begin_s = max(free_s, min(at_s[first] + delay_s, full_s))
        size = min(most, int(np.searchsorted(at_s, begin_s, side="right")) - first)
        free_s = begin_s + max(work[first : first + size]) * float(np.interp(size, rows, seconds)) / curve[1]
        ends += [free_s] * size
        first += size
    return np.array(ends)


@pytest.mark.parametrize("delay_s", [0.0, 0.4])
def test_batches_form_and_last_as_the_recursion_says(delay_s: float) -> None:
    at_s, draw = poisson(2.5, 3000, seed=6)
    work, curve, engine = draw.exponential(1.0, 3000), {1: 0.8, 2: 1.0, 4: 1.6, 8: 2.4}, Engine()
    machine = Machine(engine, "m", 1, BatchRules(max_batch=8, max_delay_s=delay_s, queue_limit=10_000))
    ended_s = np.array([one.attempt for one in fed(machine, engine, at_s, work, curve=curve)])
    assert ended_s == pytest.approx(bulk(at_s.tolist(), work.tolist(), curve, 8, delay_s), abs=1e-9)


@pytest.mark.parametrize(("size", "factor"), [(1, 1), (2, 1.5), (3, 1.75), (4, 2), (8, 4)])
def test_a_batch_that_was_not_measured_lies_between_its_neighbours(size: int, factor: float) -> None:
    assert batch_factor({1: 2.0, 2: 3.0, 4: 4.0}, size) == pytest.approx(factor)
    assert batch_factor({}, size) == size


def test_a_preferred_size_goes_at_once_and_the_rest_when_it_has_waited() -> None:
    engine = Engine()
    machine = Machine(engine, "m", 4, BatchRules(max_batch=8, preferred=(3,), max_delay_s=2.0))
    works = fed(machine, engine, np.array([0.0, 0.1, 0.2, 0.3]), np.full(4, 0.5))
    assert [work.began_s for work in works] == pytest.approx([0.2, 0.2, 0.2, 2.3])


def in_turn(rules: BatchRules, keys: str, servers: int = 1) -> list[str]:
    """The order in which work of these stages is begun that came one after the other while the machine was busy."""
    engine, begun = Engine(), list[tuple[float, str]]()
    machine, curve = Machine(engine, "m", servers, rules), {1: 1.0, 8: 1.0}
    machine.served = lambda work: begun.append((work.began_s, work.key[1]))
    for number, key in enumerate(keys):
        engine.at(number / 100, machine.submit, Work((1, key), 1.0, curve=curve))
    engine.run()
    return [key for _, key in sorted(begun, key=lambda one: one[0])]


def test_who_has_priority_waits_as_cobham_says() -> None:
    """A. Cobham, Priority assignment in waiting line problems, 1954: M/G/1, no pre-emption."""
    at_s, draw = poisson(0.8, 40 * MANY // 10, seed=8)
    seconds, engine, waits = draw.exponential(1.0, len(at_s)), Engine(), np.zeros(len(at_s))
    is_first = draw.random(len(at_s)) < 0.25  # so 0.2 a second of them, and 0.6 of others
    machine = Machine(engine, "m", 1, AT_ONCE)
    machine.served = lambda work: waits.__setitem__(work.attempt, work.began_s - work.arrived_s)
    for number, (when_s, work_s, first) in enumerate(zip(at_s, seconds, is_first, strict=True)):
        stage = (1, "ab"[number % 2])  # turns between stages go by priority as well
        engine.at(float(when_s), machine.submit, Work(stage, float(work_s), number, priority=0 if first else 3))
    engine.run()
    left_s = 0.8 * 2 / 2  # of the one that is served
    for mine, wait_s in ((is_first, left_s / (1 - 0.2)), (~is_first, left_s / ((1 - 0.2) * (1 - 0.8)))):
        each = waits[mine][: mine.sum() // BATCHES * BATCHES]
        assert each.mean() == pytest.approx(wait_s, abs=four_sd(each))


def test_stages_take_turns_by_arrival() -> None:
    assert "".join(in_turn(AT_ONCE, "abbacab")) == "abbacab"


def test_a_stage_whose_work_went_as_one_batch_has_no_turns_left_over() -> None:
    found = in_turn(BatchRules(max_batch=2), "xaabaac")
    assert "".join(found) == "xaabaac"  # not "xaaaabc": b came before the third a


def test_a_stage_that_lets_more_join_keeps_no_other_from_its_turn() -> None:
    engine, ended = Engine(), dict[str, float]()
    machine = Machine(engine, "m", 1, BatchRules(max_batch=2, max_delay_s=5.0, queue_limit=9))
    machine.served = lambda work: ended.update({work.key[1]: engine.now_s})
    for number, key in enumerate("abb"):
        engine.at(float(number), machine.submit, Work((1, key), 1.0))
    engine.run()
    assert ended == {"b": 4.0, "a": 6.0}  # two b at 2 s, for 2 s; a alone, after 5 s


def test_stages_that_let_more_join_keep_their_place_before_those_that_came_later() -> None:
    assert "".join(in_turn(BatchRules(max_batch=2, max_delay_s=1.5), "zzabxxyy")) == "zzxxabyy"


def test_who_is_left_when_another_s_turn_is_taken_back_waits_as_long_as_it_may() -> None:
    engine, works = Engine(), [Work(STAGE, 1.0), Work(STAGE, 1.0)]
    machine = Machine(engine, "m", 1, BatchRules(max_batch=3, max_delay_s=1.0))
    for at_s, work in zip((0.0, 0.1), works, strict=True):
        engine.at(at_s, lambda work=work: machine.submit(work))  # type: ignore[misc]
    engine.at(0.2, lambda: machine.withdraw(works[0]))
    engine.run()
    assert (works[0].began_s, works[1].began_s) == (-1.0, pytest.approx(1.1))


def test_a_wait_that_ends_now_by_rounding_ends() -> None:
    for arrived_s in np.random.default_rng(7).random(50):
        engine = Engine()
        machine = Machine(engine, "m", 1, BatchRules(max_batch=2, max_delay_s=0.3))
        works = fed(machine, engine, np.array([arrived_s]), np.ones(1))
        assert works[0].began_s == pytest.approx(arrived_s + 0.3, abs=1e-12)


def test_what_its_deadline_has_overtaken_is_refused_and_the_next_one_goes() -> None:
    engine, refused, ended = Engine(), list[str](), dict[str, float]()
    machine = Machine(engine, "m", 1, AT_ONCE)
    machine.refused = lambda work: refused.append(work.attempt)
    machine.served = lambda work: ended.update({work.attempt: engine.now_s})
    deadlines = (("a1", 9.0), ("a2", 0.5), ("a3", 0.6), ("b1", 9.0), ("c1", 9.0), ("c2", 0.5))
    for name, deadline_s in deadlines:
        machine.submit(Work((1, name[0]), 1.0, name), deadline_s)
    engine.run()
    assert (refused, ended) == (["a2", "a3", "c2"], {"a1": 1.0, "b1": 2.0, "c1": 3.0})
    assert (machine.held.refused, machine.held.left, machine.held.there) == (3, 3, 0)


def test_a_machine_that_falls_loses_what_was_there_and_comes_back_empty() -> None:
    engine, served = Engine(), list[str]()
    machine = Machine(engine, "m", 1, AT_ONCE)
    machine.served = lambda work: served.append(work.attempt)
    waiting = Work(STAGE, 1.0, "waiting")
    for work in (Work(STAGE, 1.0, "begun"), waiting):
        machine.submit(work)
    engine.at(0.5, machine.fall)
    engine.at(0.6, machine.rise)
    engine.at(0.7, machine.submit, Work(STAGE, 1.0, "new"))
    engine.run()
    assert (served, engine.now_s, machine.withdraw(waiting)) == (["new"], 1.7, False)
    held = machine.held
    assert (held.withdrawn, held.left, held.there, held.busy) == (2, 1, 0, 0)
    assert held.busy_s == pytest.approx(1.5)


def test_a_turn_that_is_taken_back_is_nobody_s() -> None:
    engine, served = Engine(), list[str]()
    machine = Machine(engine, "m", 1, AT_ONCE)
    machine.served = lambda work: served.append(work.attempt)
    works = [Work((1, name[0]), 1.0, name) for name in ("a1", "a2", "b1", "a3")]
    for work in works:
        machine.submit(work)
    assert machine.withdraw(works[1]) and not machine.withdraw(works[1]) and not machine.withdraw(works[0])
    engine.run()
    assert (served, machine.held.withdrawn) == (["a1", "b1", "a3"], 1)


def test_little_s_law_holds_to_the_digit() -> None:
    at_s, draw = poisson(3.0, 4000, seed=8)
    engine = Engine()
    machine = Machine(engine, "m", 2, BatchRules(max_batch=4, max_delay_s=0.2, queue_limit=6))
    works = fed(machine, engine, at_s, draw.exponential(0.8, 4000), curve={1: 1.0, 4: 1.7})
    machine.held.settle()
    spent_s = np.nansum(np.array([work.attempt for work in works]) - at_s)
    busy_s = {(work.began_s, work.attempt): work.attempt - work.began_s for work in works if work.began_s >= 0}
    assert machine.held.there_s == pytest.approx(spent_s, rel=1e-9)
    assert machine.held.busy_s == pytest.approx(sum(busy_s.values()), rel=1e-9)
    assert machine.held.refused > 0 and machine.held.there == 0
