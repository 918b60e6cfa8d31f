"""Segments that nobody timed, told from those timed in a world where what truly costs is known."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from partitioner.cost import evaluate, without_segments
from partitioner.errors import InvalidProblem
from partitioner.fitted import FEWEST, Fitted, fit, fit_of
from partitioner.graph import Graph
from partitioner.probes import _spread, probes
from partitioner.profile import EngineProfile, segment_key
from partitioner.segment_features import basis, ends_of, flops_of
from tests.partitioner.builders import chain_graph, graph_of, line_of, simple_problem

COUNT = 40
GRAPH = chain_graph(COUNT, size=100_000)
NAMES = tuple(operator.name for operator in GRAPH.operators)
COPIED_S_PER_BYTE = 3e-10  # at both ends of a cut: 0.24 ms for each of these segments
ENGINE = EngineProfile(operator_s=dict.fromkeys(NAMES, 1e-4), call_s=1e-5)

Ends = tuple[int, int]


def truth(begin: int, end: int, copied: float = COPIED_S_PER_BYTE) -> float:
    """Every third operator takes 40 % more than it was said to, and every cut its copies."""
    operators_s = sum(1.4e-4 if i % 3 == 0 else 1e-4 for i in range(begin, end))
    return 1e-5 + operators_s + 2 * 400_000 * copied


def timed(ranges: list[Ends], copied: float = COPIED_S_PER_BYTE) -> EngineProfile:
    seconds = {NAMES[a:b]: truth(a, b, copied) for a, b in ranges}
    return replace(
        ENGINE,
        segment_s={segment_key(one): taken_s for one, taken_s in seconds.items()},
        segments={segment_key(one): one for one in seconds},
    )


def drawn(count: int, seed: int) -> list[Ends]:
    draw = Random(seed)
    pairs = [sorted(draw.sample(range(COUNT + 1), 2)) for _ in range(count)]
    return [(a, b) for a, b in pairs]


def chosen(count: int) -> list[Ends]:
    return [(NAMES.index(one[0]), NAMES.index(one[-1]) + 1) for one in probes(GRAPH, ENGINE, count)]


def error(fitted: Fitted, copied: float = COPIED_S_PER_BYTE) -> float:
    told = [(fitted.seconds(range(a, b))[0], truth(a, b, copied)) for a, b in drawn(40, seed=5)]
    return float(np.mean([abs(one / true - 1) for one, true in told]))


def test_what_was_timed_tells_of_what_was_not() -> None:
    additive = error(fit(GRAPH, ENGINE))
    assert additive > 0.2
    assert error(fit(GRAPH, timed(chosen(30)))) < 0.03


def test_an_engine_far_from_what_was_expected_is_told_as_well() -> None:
    copied = 1e-7  # five hundred times what the prior holds likely
    assert error(fit(GRAPH, timed(chosen(30), copied)), copied) < 0.002


def test_with_nothing_timed_it_is_the_additive_model_and_unsure() -> None:
    seconds, std_s = fit(GRAPH, ENGINE).seconds(range(10))
    assert seconds == pytest.approx(1e-5 + 10e-4)
    assert std_s > 0.1 * seconds


def test_it_says_how_sure_it_is() -> None:
    fitted = fit(GRAPH, timed(chosen(30)))
    told = [(*fitted.seconds(range(a, b)), truth(a, b)) for a, b in drawn(60, seed=6)]
    assert np.mean([abs(one - true) <= 2 * std_s for one, std_s, true in told]) > 0.9
    assert all(std_s < 0.15 * one for one, std_s, _ in told)


def test_it_is_surer_of_a_segment_that_was_timed_than_before() -> None:
    before, after = (fit(GRAPH, timed([*drawn(8, seed=1), *more])) for more in ([], [(3, 9)]))
    assert after.seconds(range(3, 9))[1] < before.seconds(range(3, 9))[1]


def test_a_segment_never_takes_less_than_its_call() -> None:
    cheap = timed(drawn(12, seed=2))
    cheap = replace(cheap, segment_s=dict.fromkeys(cheap.segment_s, 1e-5))
    assert fit(GRAPH, cheap).seconds([4])[0] >= 1e-5


def test_chosen_segments_tell_more_than_as_many_drawn_ones() -> None:
    others = [drawn(10, seed) for seed in range(6)]
    others.append([(int(one[0]), int(one[-1]) + 1) for one in _spread(COUNT)[:10]])
    assert unsure(chosen(10)) < min(unsure(ranges) for ranges in others)
    assert error(fit(GRAPH, timed(chosen(10)))) < np.mean([error(fit(GRAPH, timed(ranges))) for ranges in others])


def unsure(ranges: list[Ends]) -> float:
    fitted = fit(GRAPH, timed(ranges[: FEWEST - 1]))  # so few that widths stay the prior's, and compare
    told = [fitted.seconds(range(a, b)) for a, b in drawn(40, seed=5)]
    return float(np.mean([(std_s / one) ** 2 for one, std_s in told]))


def test_choosing_goes_on_from_what_was_timed() -> None:
    assert probes(GRAPH, timed(chosen(10)[:5]), 5) == probes(GRAPH, ENGINE, 10)[5:]


def test_no_segment_is_chosen_twice_nor_one_that_was_timed() -> None:
    first = chosen(5)
    again = probes(GRAPH, timed(first), 400)
    assert len(set(again)) == len(again) > 200
    assert not {NAMES[a:b] for a, b in first} & set(again)


def test_a_fit_is_made_once_and_not_of_too_few() -> None:
    engine = timed(drawn(FEWEST, seed=3))
    assert fit_of(GRAPH, engine) is fit_of(GRAPH, engine) is not None
    assert fit_of(GRAPH, timed(drawn(FEWEST - 1, seed=3))) is None
    assert fit_of(GRAPH, replace(engine, segment_s={})) is None


def test_first_seconds_and_not_corrected_ones_are_where_a_fit_begins() -> None:
    corrected = replace(ENGINE, first_s=ENGINE.operator_s, operator_s=dict.fromkeys(NAMES, 9.0))
    assert fit(GRAPH, corrected).seconds(range(10)) == fit(GRAPH, ENGINE).seconds(range(10))


def test_an_operator_without_seconds_is_named() -> None:
    with pytest.raises(InvalidProblem, match="operator 'op39' has no time on this engine"):
        fit(GRAPH, replace(ENGINE, operator_s=dict.fromkeys(NAMES[:-1], 1e-4)))


def branches() -> Graph:
    """x → op0 → t0 → op1 and op2 → op3, with t1 an output as well."""
    return graph_of(
        [["x"], ["t0"], ["t0"], ["t1", "t2"]], dict.fromkeys(("x", "t0", "t1", "t2", "t3"), 10), ["t3", "t1"], {}
    )


def test_ends_are_what_is_read_from_outside_and_what_is_read_there() -> None:
    assert ends_of(branches(), [1, 2]) == (("t0",), ("t1", "t2"))
    assert ends_of(branches(), [1, 2, 3]) == (("t0",), ("t1", "t3"))
    engine = EngineProfile(operator_s=dict.fromkeys(("op0", "op1", "op2", "op3"), 1e-3))
    made = basis(branches(), engine)
    entering, leaving = made.ends(np.array([False, True, True, True]))
    assert [made.table.names[i] for i in np.flatnonzero(entering)] == ["t0"]
    assert [made.table.names[i] for i in np.flatnonzero(leaving)] == ["t1", "t3"]


@pytest.mark.parametrize(
    ("op_type", "read", "made", "weights", "flops"),
    [
        ("Conv", (1, 8, 6, 6), (1, 16, 6, 6), 16 * 8 * 9, 2 * 6 * 6 * 16 * 8 * 9),
        ("ConvTranspose", (1, 8, 6, 6), (1, 4, 12, 12), 8 * 4 * 4, 2 * 6 * 6 * 8 * 4 * 4),
        ("Gemm", (5, 30), (5, 20), 30 * 20, 2 * 5 * 30 * 20),
        ("MatMul", (2, 5, 30), (2, 5, 7), 0, 2 * 2 * 5 * 30 * 7),
        ("Relu", (5, 30), (5, 30), 0, 0),
    ],
)
def test_flops_follow_from_shapes(
    op_type: str, read: tuple[int, ...], made: tuple[int, ...], weights: int, flops: int
) -> None:
    graph = graph_of([["x"]], {"x": 1, "t0": 1}, ["t0"], {0: ["w"]})
    shapes = {"x": read, "t0": made}
    activations = {name: replace(one, shape=shapes[name]) for name, one in graph.activations.items()}
    operator = replace(graph.operators[0], op_type=op_type)
    graph = replace(graph, operators=(operator,), activations=activations, weights_bytes={"w": 4 * weights})
    assert flops_of(graph, operator) == flops


def test_a_plan_takes_the_fit_where_a_stage_was_not_timed_and_says_how_sure_it_is() -> None:
    known = 20
    engine = timed([*chosen(30), (known, COUNT)])
    posed = simple_problem(GRAPH, line_of([1e9]))
    one, other = posed.sites
    profile = replace(posed.profile, engines={one.engine: engine, other.engine: engine})
    plan = evaluate(replace(posed, profile=profile), [one] * (known + 1) + [other] * (COUNT - known - 1))
    first, last = plan.stages
    assert not first.measured and first.seconds == pytest.approx(truth(0, known + 1), rel=0.05)
    assert 0 < first.std_s < first.seconds
    plan = evaluate(replace(posed, profile=profile), [one] * known + [other] * (COUNT - known))
    assert plan.stages[-1].measured and plan.stages[-1].std_s == 0
    assert plan.stages[-1].seconds == pytest.approx(truth(known, COUNT))
    assert last.seconds != plan.stages[-1].seconds


def test_without_segments_the_fit_is_out_of_the_search() -> None:
    posed = simple_problem(GRAPH, line_of([1e9]))
    profile = replace(posed.profile, engines=dict.fromkeys(posed.profile.engines, timed(chosen(30))))
    plan = evaluate(without_segments(replace(posed, profile=profile)), [posed.sites[0]] * COUNT)
    assert plan.stages[0].seconds == pytest.approx(1e-5 + COUNT * 1e-4)
