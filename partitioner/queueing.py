"""Latency of a plan under load: what one request takes alone, plus how long it waits for others like it.

Model. Requests come as a Poisson process. Every node that computes and every directed link that carries bytes serves
one thing at a time, in the order of arrival, with unlimited room before it; a stage takes its seconds, a message its
bytes over the link's goodput, each time the same. Propagation, coding and message software delay a request but hold
nothing up, as in `figures.throughput_per_s`; so a resource is saturated, and the latency infinite, exactly where the
arrivals reach the plan's throughput. A request does one thing after another, as the evaluator adds it up. Which of a
stage's replicas serves a request is drawn evenly. No batches, no losses, no other deployment on the same nodes.

Exact where a request meets every resource at most once, without replicas: a row of queues with constant services
delays a request as its slowest queue would alone, whatever stands between (Avi-Itzhak: A sequence of service stations
with arbitrary input and regular service times, 1965; Friedman: Reduction methods for tandem queuing systems, 1965).
That one is M/D/1, whose mean wait is λs²/2(1 - λs) (Pollaczek, Khinchine). Adding up waits of queues taken as
independent would overstate it up to as many times as there are queues.

An approximation elsewhere. A resource that a request meets several times, with seconds s1…sk, S in all, is taken
between its limits: λ·kΣs²/2 where load is light, λ·kS³/(2ΣR)/(1 - λS) where it is heavy, R being what is left of S at
each visit: queues then hold requests of all visits in proportion (Reiman: A multiclass feedback queue in heavy traffic,
1988; the interpolation as in Reiman, Simon: An interpolation approximation for queueing systems with Poisson input,
1988). Nodes that share a stage count as one; the longest wait then stands for all. Latency so found was within a
tenth of what simulation gave for plans that come back (tests/partitioner/test_queueing.py), the wait alone at light
load, where it is small, at worst a third below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from partitioner.errors import InvalidProblem
from partitioner.plan import ROUTER, Crossing, Plan, Stage
from partitioner.problem import Problem
from partitioner.topology import NodeId

Resource = NodeId | tuple[NodeId, NodeId]  # a node, or a link by its ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A resource as a plan's requests meet it.

    Under λ requests/s one waits λ·((1 - ρ)·light_s2 + ρ·heavy_s2) / (1 - ρ) seconds there in all, ρ = λ·busy_s.
    Stations of one `group` are alternatives (replicas): a request's waits there add up as expectations.
    """

    resource: Resource
    busy_s: float  # mean seconds per request
    light_s2: float
    heavy_s2: float
    group: int

    def wait_s(self, arrivals_per_s: float) -> float:
        """Mean seconds that a request waits here over all its visits; infinite where the station is saturated."""
        load = arrivals_per_s * self.busy_s
        if load >= 1:
            return inf
        return arrivals_per_s * ((1 - load) * self.light_s2 + load * self.heavy_s2) / (1 - load)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """A request's turn at one of several resources: `share` of the requests take this one, for `seconds`."""

    resource: Resource
    share: float
    seconds: float


def loaded_latency_s(problem: Problem, plan: Plan, arrivals_per_s: float) -> float:
    """Mean seconds from a request to its answer while `arrivals_per_s` come; infinite where a resource is saturated.

    InvalidProblem for arrivals below 0, for a plan whose branches run side by side, and for `serialised` nodes.
    """
    if plan.parallel:
        raise InvalidProblem(f"{plan.model}: waits are known only for plans that run one stage after another")
    return plan.predicted.latency_s + wait_s(stations(problem, plan), arrivals_per_s)


def utilisations(problem: Problem, plan: Plan, arrivals_per_s: float) -> dict[Resource, float]:
    """What share of the time each resource that the plan uses is busy; 1 or more: it is saturated."""
    _check(arrivals_per_s)
    return {station.resource: arrivals_per_s * station.busy_s for station in stations(problem, plan)}


def wait_s(met: Sequence[Station], arrivals_per_s: float) -> float:
    """Mean seconds that a request which meets these stations waits: the largest of any group's."""
    _check(arrivals_per_s)
    waits: dict[int, float] = {}
    for station in met:
        waits[station.group] = waits.get(station.group, 0.0) + station.wait_s(arrivals_per_s)
    return max(waits.values(), default=0.0)


def stations(problem: Problem, plan: Plan) -> tuple[Station, ...]:
    """The resources that take time of the plan's requests, by the order in which a request first meets them.

    InvalidProblem where nodes are `serialised`: one that holds a node and a link at once is not in the model.
    """
    if problem.serialised:
        raise InvalidProblem(f"{plan.model}: waits are known only for nodes that compute while links carry")
    turns = [[one for one in turn if one.seconds] for turn in _turns(problem, plan)]
    at: dict[Resource, list[_Visit]] = {}
    group: dict[Resource, int] = {}
    for number, turn in enumerate(turns):
        for joined in sorted({group.get(visit.resource, number) for visit in turn}):
            group.update((resource, number) for resource, old in list(group.items()) if old == joined)
        for visit in turn:
            group[visit.resource] = number
            at.setdefault(visit.resource, []).append(visit)
    return tuple(_station(resource, visits, group[resource]) for resource, visits in at.items())


def _station(resource: Resource, visits: Sequence[_Visit], group: int) -> Station:
    met = sum(one.share for one in visits)
    busy_s = sum(one.share * one.seconds for one in visits)
    squares = sum(one.share * one.seconds**2 for one in visits)
    after_s, left_s, all_s2 = 0.0, 0.0, squares
    for one in reversed(visits):
        left_s += one.share * (one.seconds + after_s)
        all_s2 += 2 * one.share * one.seconds * after_s
        after_s += one.share * one.seconds
    heavy_s2 = met * all_s2 / 2 * busy_s / left_s
    return Station(resource=resource, busy_s=busy_s, light_s2=met * squares / 2, heavy_s2=heavy_s2, group=group)


def _turns(problem: Problem, plan: Plan) -> Iterator[list[_Visit]]:
    """Each turn of a request at a resource, in order; a list holds the alternatives of one turn."""
    nodes = {stage.name: (stage.node, *stage.replicas) for stage in plan.stages}
    for stage in plan.stages:
        yield from _ways(problem, nodes, [one for one in plan.crossings if one.receiver == stage.name])
        yield _shared(stage)
    yield from _ways(problem, nodes, [one for one in plan.crossings if one.receiver == ROUTER])


def _shared(stage: Stage) -> list[_Visit]:
    nodes = (stage.node, *stage.replicas)
    return [_Visit(resource=node, share=1 / len(nodes), seconds=stage.seconds) for node in nodes]


def _ways(
    problem: Problem, nodes: Mapping[str, Sequence[NodeId]], crossings: Sequence[Crossing]
) -> Iterator[list[_Visit]]:
    """The links of each message: those that all requests take one by one, then those that only some take."""
    for crossing in crossings:
        sources = nodes.get(crossing.sender, (crossing.source,))
        targets = nodes.get(crossing.receiver, (crossing.target,))
        share = 1 / (len(sources) * len(targets))
        taken: dict[Resource, _Visit] = {}
        for source in sources:
            for target in targets:
                path = problem.topology.path(source, target)
                if path is None:
                    raise InvalidProblem(f"no links lead along {source} → {target}; add one or place elsewhere")
                for link in path.links:
                    ends, seconds = (link.source, link.target), crossing.nbytes / link.bytes_per_s
                    before = taken[ends].share if ends in taken else 0.0
                    taken[ends] = _Visit(resource=ends, share=before + share, seconds=seconds)
        yield from ([visit] for visit in taken.values() if visit.share > 1 - share / 2)
        yield [visit for visit in taken.values() if visit.share <= 1 - share / 2]


def _check(arrivals_per_s: float) -> None:
    if not 0 <= arrivals_per_s < inf:
        raise InvalidProblem(f"arrivals are a number of requests per second from 0, not {arrivals_per_s:g}")
