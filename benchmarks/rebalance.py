"""What rebalancing saves over measured 5G and LTE traces, against someone who knows the whole trace.

EfficientNet-Lite0's plans over camera, edge and cloud, the uplink from the camera following each trace of DIR (5G and
LTE formats as kit/traces.py says), or traces drawn from seeds. Requests, `--rate` a second, go one by one through
the camera and the link (kit/served.py). The policy sees only what a router can (kit/link_sight.py), switches plans by
policies/rebalance.py, twice in ten seconds never, and sends each request to the running plan or to the fallback, the
whole model at the camera, by policies/routing.py. The clairvoyant has the same plans, fallback and spacing. The best
fixed plan and the naive switcher, which runs whatever the newest estimate says is best, have no fallback; the fixed
plans are also told with one. Operator seconds are drawn from a seed, as in mincut.py.

`--tune` tries other constants of the policy instead, on every second trace; the others judge.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from pathlib import Path
from statistics import mean

import numpy as np
from kit.clairvoyant import alone_s, by_second, least_spaced, least_unlimited
from kit.figures import Figure, figure, report
from kit.link_sight import NOISE, LinkSight
from kit.problems import three_tiers, with_codecs
from kit.served import READY_S, Decide, Served, Shape, serve, shape_of
from kit.trace_link import TraceLink
from kit.traces import Trace, drawn_trace, read_traces

from partitioner.load import load
from partitioner.search.atlas import Atlas, atlas
from policies.rebalance import MEMORY_S, MIN_GAIN, SPACING_S, Candidate, Switch, next_switch_s, rebalance, remembered

MODEL, ENDS = "efficientnet_lite0", ("camera", "mec")
LOW, HIGH = 1e4 / 8, 1e9 / 8  # bytes per second
RATE_PER_S = 5.0
FULL = 0.5  # of a link's time; beyond, a plan is taken not to be able to serve
DRAWN, DRAWN_S, QUICK_S = 8, 1200, 300
TARGET = 1.1  # of the clairvoyant's mean latency


def zoo_shapes() -> list[Shape]:
    """The plans that are best at some goodput, from the whole model at the camera on, ascending."""
    from isthmus import zoo

    posed = with_codecs(three_tiers(load(zoo.build(MODEL)).graph))
    found = atlas(posed, ENDS, LOW, HIGH)
    if not isinstance(found, Atlas):
        raise SystemExit(f"{MODEL}: {found.detail}")
    return [shape_of(posed.topology, entry.plan, ENDS) for entry in found.entries]


@dataclass(slots=True)
class Rebalancing:
    """The policy at work: what it remembers of each plan, and when it switched last."""

    shapes: Sequence[Shape]
    fallback: int | None
    rate_per_s: float = RATE_PER_S
    memory_s: float = MEMORY_S
    min_gain: float = MIN_GAIN
    _seconds: list[float] | None = None
    _seen_s: float = 0.0
    _allowed_s: float = 0.0

    def __call__(self, now_s: float, sight: LinkSight, is_new: bool, current: int) -> int:
        """The plan to run."""
        rate = sight.bytes_per_s
        if rate is None:
            return current
        if is_new:
            self._remember(rate, now_s)
        seconds = self._seconds or []
        candidates = [self._candidate(number, current, seconds[number], rate) for number in range(len(seconds))]
        decision = rebalance(
            current=candidates.pop(current),
            others=candidates,
            allowed_in_s=self._allowed_s - now_s,
            arrivals_per_s=self.rate_per_s,
            min_gain=self.min_gain,
        )
        if not isinstance(decision, Switch):
            return current
        self._allowed_s = next_switch_s(allowed_s=self._allowed_s, now_s=now_s)
        return int(decision.to)

    def _remember(self, rate: float, now_s: float) -> None:
        newest, at_most = [self._newest_s(shape, rate) for shape in self.shapes], inf
        if self.fallback is not None:
            at_most = newest[self.fallback]
            newest = [min(one, at_most) for one in newest]
        elapsed_s, self._seen_s = now_s - self._seen_s, now_s
        self._seconds = [
            remembered(before, one, elapsed_s=elapsed_s, memory_s=self.memory_s, at_most=at_most)
            for before, one in zip(self._seconds or newest, newest, strict=True)
        ]

    def _newest_s(self, shape: Shape, rate: float) -> float:
        """A plan's latency at this goodput; where nothing falls back it can't serve if its bytes fill the link."""
        filled = shape.nbytes * self.rate_per_s / rate
        return inf if self.fallback is None and filled > FULL else shape.alone_s(rate)

    def _candidate(self, number: int, current: int, seconds: float, rate: float) -> Candidate:
        doubt = abs(self._link_s(number, rate) - self._link_s(current, rate)) * NOISE
        return Candidate(key=str(number), seconds=seconds, gain_std=doubt, ready_s=READY_S)

    def _link_s(self, number: int, rate: float) -> float:
        """What of a request's time depends on the link: nothing where it would go to the fallback."""
        shape = self.shapes[number]
        falls = self.fallback is not None and shape.alone_s(rate) >= self.shapes[self.fallback].alone_s(rate)
        return 0.0 if falls else shape.nbytes / rate


def naive(shapes: Sequence[Shape]) -> Decide:
    """Run whatever the newest estimate says is best."""

    def decide(now_s: float, sight: LinkSight, is_new: bool, current: int) -> int:
        rate = sight.bytes_per_s
        return current if rate is None else min(range(len(shapes)), key=lambda number: shapes[number].alone_s(rate))

    return decide


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Mean latencies over one trace, in seconds; switches per ten seconds."""

    trace: str
    policy_s: float
    switches: float
    closest_s: float  # between two switches
    fallback_share: float
    clairvoyant_s: float  # with the fallback, switches spaced
    plans_only_s: float  # the same without the fallback
    per_second_s: float
    fixed_s: float
    fixed_with_fallback_s: float
    naive_s: float
    naive_switches: float
    lone_s: float  # the policy without a fallback
    lone_switches: float


def outcome(trace: Trace, shapes: Sequence[Shape], rate_per_s: float = RATE_PER_S) -> Outcome:
    """The policy and all that it is compared with over one trace. The first shape is the fallback."""
    link = TraceLink(trace)

    def run(decide: Decide, first: int, fallback: int | None) -> Served:
        return serve(link, shapes, rate_per_s=rate_per_s, decide=decide, first=first, fallback=fallback)

    plans, last = range(len(shapes)), len(shapes) - 1
    ours = run(Rebalancing(shapes, 0, rate_per_s), last, 0)
    lone = run(Rebalancing(shapes, None, rate_per_s), last, None)
    loose = run(naive(shapes), last, None)
    with_fallback, without = (alone_s(link, shapes, rate_per_s, one) for one in (0, None))
    requests, spacing = without.shape[1], int(SPACING_S)
    return Outcome(
        trace=trace.name,
        policy_s=ours.mean_s,
        switches=per_ten_s(ours, link),
        closest_s=float(np.diff(ours.switched_s).min()) if len(ours.switched_s) > 1 else float(link.seconds),
        fallback_share=ours.fallen_back / requests,
        clairvoyant_s=least_spaced(by_second(with_fallback, rate_per_s), spacing) / requests,
        plans_only_s=least_spaced(by_second(without, rate_per_s), spacing) / requests,
        per_second_s=least_unlimited(by_second(without, rate_per_s)) / requests,
        fixed_s=min(run(fixed(number), number, None).mean_s for number in plans),
        fixed_with_fallback_s=min(run(fixed(number), number, 0).mean_s for number in plans),
        naive_s=loose.mean_s,
        naive_switches=per_ten_s(loose, link),
        lone_s=lone.mean_s,
        lone_switches=per_ten_s(lone, link),
    )


def per_ten_s(served: Served, link: TraceLink) -> float:
    """Switches in ten seconds, over the whole trace."""
    return len(served.switched_s) / link.seconds * 10


def fixed(number: int) -> Decide:
    """One plan throughout."""
    return lambda *_: number


def figures_of(found: Sequence[Outcome]) -> list[Figure]:
    """Each trace against its targets, then all of them together."""
    rows = []
    for one in found:
        told = f"{one.trace}: mean {one.policy_s * 1e3:.1f} ms"
        rows += [
            figure(f"{told} over the clairvoyant's", one.policy_s / one.clairvoyant_s, "×", TARGET),
            figure(f"{one.trace}: over the best fixed plan's", one.policy_s / one.fixed_s, "×", 1.0),
            figure(f"{one.trace}: switches in 10 s", one.switches, "", 1.0),
        ]
    ours, judging = "the clairvoyant's", found[1::2]
    return [
        *rows,
        over(ours, found, lambda one: one.policy_s / one.clairvoyant_s, TARGET),
        over(
            f"{ours}, traces that nothing was tuned on", judging, lambda one: one.policy_s / one.clairvoyant_s, TARGET
        ),
        over(f"{ours} without a fallback", found, lambda one: one.policy_s / one.plans_only_s, TARGET),
        over("the per-second clairvoyant's without a fallback", found, lambda one: one.policy_s / one.per_second_s),
        over("the best fixed plan's", found, lambda one: one.policy_s / one.fixed_s, 1.0),
        over("the best fixed plan's with the fallback", found, lambda one: one.policy_s / one.fixed_with_fallback_s),
        over("the naive switcher's", found, lambda one: one.policy_s / one.naive_s),
        across("all: switches in 10 s", found, lambda one: one.switches, 1.0),
        across("all: switches in 10 s of the naive switcher", found, lambda one: one.naive_switches),
        across("all: share of requests that the fallback answered", found, lambda one: one.fallback_share),
        over("the clairvoyant's, neither with a fallback", found, lambda one: one.lone_s / one.plans_only_s),
        across("all: switches in 10 s without a fallback", found, lambda one: one.lone_switches),
        figure("all: least time between two switches", min(one.closest_s for one in found), "s", SPACING_S, "higher"),
    ]


def over(
    whose: str, found: Sequence[Outcome], ratio: Callable[[Outcome], float], target: float | None = None
) -> Figure:
    """The mean over traces of a ratio of mean latencies, with the least and largest trace's."""
    return across(f"all: mean latency over {whose}", found, ratio, target, "×")


def across(
    name: str, found: Sequence[Outcome], value: Callable[[Outcome], float], target: float | None = None, unit: str = ""
) -> Figure:
    """The mean over traces, with the least and largest trace's."""
    values = [value(one) for one in found]
    return figure(name, mean(values), unit, target, spread=(min(values), max(values)))


def tune(traces: Sequence[Trace], shapes: Sequence[Shape], rate_per_s: float) -> list[Figure]:
    """The clairvoyant's ratio for other memories and gains asked for, over every second trace."""
    links = [TraceLink(trace) for trace in traces[::2]]
    costs = [by_second(alone_s(link, shapes, rate_per_s, 0), rate_per_s) for link in links]
    least_s = [least_spaced(one, int(SPACING_S)) for one in costs]
    rows = []
    for memory_s, min_gain in product((1.0, 3.0, 6.0, 12.0, 24.0), (0.03, 0.06, 0.1, 0.15, 0.2)):
        ratios = []
        for link, least in zip(links, least_s, strict=True):
            policy = Rebalancing(shapes, 0, rate_per_s, memory_s, min_gain)
            served = serve(link, shapes, rate_per_s=rate_per_s, decide=policy, first=len(shapes) - 1, fallback=0)
            ratios.append(float(served.latency_s.sum()) / least)
        spread = (min(ratios), max(ratios))
        rows.append(figure(f"memory {memory_s:g} s, gain {min_gain:.0%}", mean(ratios), "×", spread=spread))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, metavar="PER_S")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    drawn = DRAWN // 2 if options.quick else DRAWN
    traces = read_traces(options.folder) if options.folder else [drawn_trace(seed, DRAWN_S) for seed in range(drawn)]
    if options.quick:
        traces = [replace(one, bytes_per_s=one.bytes_per_s[:QUICK_S]) for one in traces]
    shapes = zoo_shapes()
    if options.tune:
        found = tune(traces, shapes, options.rate)
    else:
        found = figures_of([outcome(trace, shapes, options.rate) for trace in traces])
    report("rebalance", found, options.json)


if __name__ == "__main__":
    main()
