"""Requests of one camera served one after the other over a link that follows a trace, under plans that change.

A request waits for the camera, computes there what its plan has the camera compute, then waits for the link; beyond it
nothing queues. A router looks every TICK_S at what it knows of the link (link_sight.py), lets a policy choose the plan,
and, where there is a fallback (the whole model at the camera), sends each request that way if it is predicted to be
answered sooner: new ones as they come, and those that are stuck on the wire, which it cancels and replays.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from kit.link_sight import LinkSight, Transfer
from kit.trace_link import Floats, TraceLink
from partitioner.latency_form import latency_form
from partitioner.plan import Plan
from partitioner.topology import NodeId, Topology
from policies.routing import Way, least_completion

TICK_S = 0.1
READY_S = 0.1  # from a decision to the first request on the new plan, which was kept warm

Decide = Callable[[float, LinkSight, bool, int], int]
"""Now, what is known of the link, whether that is new, and the running plan's number; the number of the plan to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one request of a plan takes: of the camera, of the varying link, and of everything else."""

    camera_s: float
    nbytes: int
    rest_s: float

    def alone_s(self, bytes_per_s: float) -> float:
        """Latency of one request alone at this goodput."""
        return self.camera_s + self.nbytes / bytes_per_s + self.rest_s


def shape_of(topology: Topology, plan: Plan, ends: tuple[NodeId, NodeId]) -> Shape:
    """A plan's shape; `ends` are the camera and the other end of the varying link."""
    form = latency_form(topology, plan)
    rates = {(one.source, one.target): one for one in topology.links}
    rates[ends] = replace(rates[ends], bytes_per_s=inf)
    camera_s = sum(stage.seconds for stage in plan.stages if stage.node == ends[0])
    return Shape(camera_s=camera_s, nbytes=form.bytes_by_link().get(ends, 0), rest_s=form.seconds(rates) - camera_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Every request's latency, when plans were switched, and how many requests the fallback answered."""

    latency_s: Floats
    switched_s: tuple[float, ...]
    fallen_back: int

    @property
    def mean_s(self) -> float:
        """Mean latency."""
        return float(self.latency_s.mean())


def serve(
    link: TraceLink, shapes: Sequence[Shape], *, rate_per_s: float, decide: Decide, first: int, fallback: int | None
) -> Served:
    """Serve a request every 1 / rate_per_s over the whole trace, beginning with the plan numbered `first`."""
    run = _Run(link=link, latency_s=np.zeros(int(link.seconds * rate_per_s)), rate_per_s=rate_per_s)
    current = following = first
    switched: list[float] = []
    due_s, request = inf, 0
    for tick in range(round(link.seconds / TICK_S)):
        now_s = tick * TICK_S
        is_new = run.look(now_s)
        if now_s >= due_s:
            current, due_s = following, inf
        if due_s == inf:
            following = decide(now_s, run.sight, is_new, current)
            if following != current:
                switched.append(now_s)
                due_s = now_s + READY_S - TICK_S / 2
        refuge = fallback if fallback is not None else current
        if shapes[refuge].nbytes == 0:
            run.rescue(shapes[refuge], now_s)
        while request < len(run.latency_s) and request / rate_per_s < now_s + TICK_S:
            run.admit(request, shapes[current], None if fallback is None else shapes[fallback])
            request += 1
    return Served(latency_s=run.latency_s, switched_s=tuple(switched), fallen_back=run.fallen_back)


@dataclass(slots=True, kw_only=True)
class _Run:
    link: TraceLink
    latency_s: Floats
    rate_per_s: float
    fallen_back: int = 0
    sight: LinkSight = field(init=False)
    _camera_free_s: float = 0.0
    _link_free_s: float = 0.0
    _flying: deque[Transfer] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.sight = LinkSight(self.link)

    def look(self, now_s: float) -> bool:
        """Let arrive what has, and learn of the link; whether anything was learnt."""
        arrived = []
        while self._flying and self._flying[0].through_s <= now_s:
            arrived.append(self._flying.popleft())
        under_way = self._flying[0] if self._flying and self._flying[0].begins_s <= now_s else None
        return self.sight.look(now_s, arrived, under_way)

    def admit(self, request: int, shape: Shape, fallback: Shape | None) -> None:
        """Send a request that comes now, the way that is predicted to be sooner."""
        now_s, rate = request / self.rate_per_s, self.sight.bytes_per_s
        if fallback is not None and shape.nbytes and rate is not None:
            queue_s = self._ahead_bytes(now_s) / rate
            link_s = max(0.0, queue_s - shape.camera_s) + shape.nbytes / rate + shape.rest_s
            ways = (
                Way(name="plan", in_hand=0, batch_s=(shape.camera_s,), link_s=link_s),
                Way(name="fallback", in_hand=0, batch_s=(fallback.camera_s,), link_s=fallback.rest_s),
            )
            if least_completion(ways=ways).to == "fallback":
                shape = fallback
                self.fallen_back += 1
        self._send(request, shape, now_s)

    def rescue(self, refuge: Shape, now_s: float) -> None:
        """Cancel what is on the wire and would be sooner from a plan that needs no link; replay it there."""
        rate = self.sight.bytes_per_s
        if rate is None or not self._flying:
            return
        kept: list[Transfer] = []
        stuck: list[Transfer] = []
        ahead, camera_s = 0.0, max(self._camera_free_s - now_s, 0.0)
        for one in self._flying:
            left = self._left_bytes(one, now_s)
            if one.ready_s <= now_s and (ahead + left) / rate > camera_s + refuge.camera_s:
                stuck.append(one)
                camera_s += refuge.camera_s
            else:
                kept.append(one)
                ahead += left
        if stuck:
            self._close_up(kept, now_s)
            self.fallen_back += len(stuck)
            for one in stuck:
                self._send(one.request, refuge, now_s)

    def _close_up(self, kept: Sequence[Transfer], now_s: float) -> None:
        """Let those that stay on the wire drain as if the others had never been behind or before them."""
        self._flying.clear()
        self._link_free_s = now_s
        for one in kept:
            left, start_s = self._left_bytes(one, now_s), max(one.ready_s, self._link_free_s)
            through_s = self.link.through_s(start_s, left)
            self.latency_s[one.request] += through_s - one.through_s
            begins_s = one.begins_s if one.begins_s < now_s else start_s
            self._flying.append(replace(one, begins_s=begins_s, through_s=through_s))
            self._link_free_s = through_s

    def _send(self, request: int, shape: Shape, now_s: float) -> None:
        self._camera_free_s = made_s = max(now_s, self._camera_free_s) + shape.camera_s
        if shape.nbytes:
            begins_s = max(made_s, self._link_free_s, self.sight.probed_until_s)
            self._link_free_s = through_s = self.link.through_s(begins_s, shape.nbytes)
            self._flying.append(Transfer(request, made_s, begins_s, through_s, shape.nbytes))
            made_s = through_s
        self.latency_s[request] = made_s + shape.rest_s - request / self.rate_per_s

    def _ahead_bytes(self, now_s: float) -> float:
        return sum(self._left_bytes(one, now_s) for one in self._flying if one.through_s > now_s)

    def _left_bytes(self, one: Transfer, now_s: float) -> float:
        gone = self.link.drained(now_s) - self.link.drained(one.begins_s) if one.begins_s < now_s else 0.0
        return max(0.0, one.nbytes - gone)
