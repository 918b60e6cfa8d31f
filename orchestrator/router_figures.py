"""What a router knows of its deployments and links, as Prometheus is told it: the epoch and plan in use, switches,
and where answers' time went, by stage.

Hops are noted when an answer comes and counted in bulk. What belongs to an epoch is gone when that is drained, what
belongs to a deployment when it has no epoch left: plans come and go for as long as a router lives.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodes.buckets import SECONDS, Buckets
from nodes.connection import Connection
from nodes.framing import HopTiming
from nodes.link_figures import LinkFigures
from orchestrator.routed import Routed

PARTS = ("queue", "decode", "compute", "encode")
NOTED = 500
LOOK_S = 0.5  # between two times that links and hops are counted
Epoch = tuple[str, int]


@dataclass(slots=True)
class _Seen:
    """What answers from one epoch told; `outside`: what they took but for the stages' own time."""

    stages: dict[str, tuple[Buckets, ...]] = field(default_factory=dict)
    outside: Buckets = field(default_factory=Buckets)


class RouterFigures(Collector):
    """Changed in the router's loop, read from the endpoint's threads. `deployments` are the router's own."""

    def __init__(self, deployments: Mapping[str, Routed]) -> None:
        self.links = LinkFigures()
        self._deployments = deployments
        self._switches: dict[str, int] = {}
        self._seen: dict[Epoch, _Seen] = {}
        self._looked_s = -math.inf
        self._changes: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()  # detected, counted already
        self._noted: list[tuple[Epoch, float, tuple[HopTiming, ...]]] = []

    def note_switch(self, deployment: str) -> None:
        """New requests go to another epoch from now on."""
        self._switches[deployment] = self._switches.get(deployment, 0) + 1

    def note_hops(self, deployment: str, epoch: int, latency_s: float, hops: tuple[HopTiming, ...]) -> None:
        """An answer came, with what its stages took; nothing is noted where that was not asked for."""
        if hops:
            self._noted.append(((deployment, epoch), latency_s, hops))
            if len(self._noted) >= NOTED:
                self.fold()

    def forget(self, deployment: str, epoch: int) -> None:
        """An epoch is drained."""
        self.fold()
        self._seen.pop((deployment, epoch), None)

    def look(self, streams: Iterable[Connection], now_s: float) -> None:
        """Have all counted, if it is time."""
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        self.fold()
        there = tuple(streams)
        self.links.count(there, now_s)
        for stream in there:
            estimate = stream.link
            changed = estimate.changes > self._changes.get(stream, 0)
            self._changes[stream] = estimate.changes
            if stream.peer_node and stream.peer_node != stream.node:
                self.links.told(stream.node, stream.peer_node, estimate, now_s, changed=changed)

    def fold(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        found: dict[Epoch, dict[str, list[tuple[float, ...]]]] = {}
        outside: dict[Epoch, list[float]] = {}
        for epoch, latency_s, hops in noted:
            stages = found.setdefault(epoch, {})
            within_s = 0.0
            for stage, *seconds, _ in hops:
                stages.setdefault(stage, []).append(tuple(seconds))
                within_s += sum(seconds)
            outside.setdefault(epoch, []).append(max(0.0, latency_s - within_s))
        for epoch, stages in found.items():
            seen = self._seen.setdefault(epoch, _Seen())
            seen.outside.add(outside[epoch])
            for stage, each in stages.items():
                buckets = seen.stages.setdefault(stage, tuple(Buckets(SECONDS) for _ in PARTS))
                for bucket, values in zip(buckets, zip(*each, strict=True), strict=True):
                    bucket.add(values)

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._plans()
        labels = ("deployment", "epoch", "stage", "part")
        stages = HistogramMetricFamily("isthmus_router_stage_seconds", "Where answers' time went", labels=labels)
        outside = HistogramMetricFamily(
            "isthmus_router_transfer_seconds", "What answers took but for their stages' own time", labels=labels[:2]
        )
        for (name, epoch), seen in list(self._seen.items()):
            about = (name, str(epoch))
            outside.add_metric(about, seen.outside.told(), seen.outside.total)
            for stage, buckets in list(seen.stages.items()):
                for part, bucket in zip(PARTS, buckets, strict=True):
                    stages.add_metric((*about, stage, part), bucket.told(), bucket.total)
        yield from (stages, outside)
        yield from self.links.collect()

    def _plans(self) -> Iterable[Metric]:
        """Of deployments that have an epoch: others are gone."""
        there = [(name, held) for name, held in list(self._deployments.items()) if held.epochs]
        current = GaugeMetricFamily("isthmus_current_epoch", "The epoch in use", labels=("deployment",))
        plans = GaugeMetricFamily(
            "isthmus_plan_info", "The plan in use: always 1", labels=("deployment", "epoch", "plan", "version")
        )
        switches = CounterMetricFamily(
            "isthmus_router_switches", "Times that new requests went to another epoch", labels=("deployment",)
        )
        in_hand = GaugeMetricFamily("isthmus_router_requests_in_hand", "Requests under way", labels=("deployment",))
        for name, held in there:
            switches.add_metric((name,), self._switches.get(name, 0))
            in_hand.add_metric((name,), len(held.waiting))
            if (active := held.active) is not None:
                current.add_metric((name,), active.epoch)
                plans.add_metric((name, str(active.epoch), active.plan, str(active.version)), 1)
        for gone in self._switches.keys() - {name for name, _ in there}:
            self._switches.pop(gone, None)
        return current, plans, switches, in_hand
