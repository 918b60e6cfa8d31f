from dataclasses import replace

import pytest

from partitioner.cost import evaluate
from partitioner.problem import Problem
from partitioner.profile import CodecFigure, TensorFigure
from partitioner.search.mincut import best_per_chain
from tests.partitioner.builders import chain_graph, line_of, simple_problem, site


def coded(*, slowdown: float = 1.0, own: float | None = None, tensor: str = "t1") -> Problem:
    """Two tiers, 4,000-byte activations at 1 MB/s, int8 coded at 1e-8 s a byte, or on `tensor` at `own`."""
    problem = simple_problem(chain_graph(4), line_of([1e6], slowdowns=(slowdown,)))
    figure = TensorFigure(ratio=0.25, error=0.0, encode_s_per_byte=own, decode_s_per_byte=own)
    general = CodecFigure(encode_s_per_byte=1e-8, decode_s_per_byte=1e-8)
    profile = replace(problem.profile, codecs={"int8": general}, tensors={tensor: {"int8": figure}})
    return replace(problem, profile=profile, codecs=("raw", "int8"), max_error=0.05)


def split(problem: Problem) -> float:
    plan = evaluate(problem, [site("camera")] * 2 + [site("mec")] * 2)
    return plan.crossings[1].codec_s


def test_a_tensor_is_coded_at_its_own_speed_where_that_was_timed() -> None:
    assert split(coded()) == pytest.approx(2 * 4000 * 1e-8)
    assert split(coded(own=1e-9)) == pytest.approx(2 * 4000 * 1e-9)


def test_the_search_prices_a_tensor_at_its_own_speed_too() -> None:
    problem = coded(own=1e-6)
    for plan in best_per_chain(problem):
        assert all("int8" not in crossing.codecs for crossing in plan.crossings)


def test_a_slowdown_does_not_slow_the_router() -> None:
    plan = evaluate(coded(slowdown=8.0, tensor="x"), [site("mec")] * 4)
    assert plan.crossings[0].codecs == ("int8",)
    assert plan.crossings[0].codec_s == pytest.approx(2 * 4000 * 1e-8)
