"""Plans and maps for simulated deployments: the live solvers, each question answered once.

A live map is complete where one link has moved. Behind a cell all of a device's links move together, with the radio; so
here a map holds the best plans over the radio's whole range, with each machine and without, and is good for any rate of
it. It is drawn anew only where the wires behind the cell have become others. Nothing hangs on a clock.
"""

from collections.abc import Callable, Iterator
from math import log10

from orchestrator.answering import found
from orchestrator.blueprint import Blueprint
from orchestrator.events import PlanFound, PlanNotFound
from orchestrator.instructions import FindPlan
from orchestrator.links_seen import LinkEstimate
from orchestrator.mapping import is_mappable, with_plans
from orchestrator.plan_map import LinkRange, PlanMap
from partitioner.errors import PartitionerError
from partitioner.plan import Plan
from partitioner.topology import NodeId

Links = tuple[LinkEstimate, ...]
LinksAt = Callable[[float], Links]  # what a deployment's links are now, at so many bits a second up over the air
SLOWEST, DECADES = 1e4, 6  # of the radio, bits a second: up to 10 Gbit/s
STEPS, LOST_STEPS, WIRE_STEPS = 3, 1, 3  # in a decade: of the radio's rate; without a machine; of wires that are alike
WIDE = 1e9  # times a link's rate: as far as a map is good for it
UNLIMITED = 1e15  # bits a second, of a radio that leaves the wires alone to tell links apart


class Planner:
    """For all deployments of a replication; those that are alike share what is found."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], PlanFound | PlanNotFound] = {}
        self._maps: dict[tuple[object, ...], PlanMap | None] = {}

    def find(
        self, kind: object, blueprint: Blueprint, wanted: FindPlan, running: Plan | None
    ) -> PlanFound | PlanNotFound:
        """The answer to the question, as live. `kind` tells blueprints apart that differ in more than their links."""
        asked = (kind, wanted.links, wanted.excluded, None if running is None else repr(running))
        if asked not in self._found:
            self._found[asked] = found(blueprint, wanted, running)
        answer = self._found[asked]
        if isinstance(answer, PlanNotFound):
            return PlanNotFound(deployment=wanted.deployment, ticket=wanted.ticket, reason=answer.reason)
        return PlanFound(deployment=wanted.deployment, ticket=wanted.ticket, plan=answer.plan, current=answer.current)

    def map(
        self,
        kind: object,
        blueprint: Blueprint,
        links_at: LinksAt,
        excluded: tuple[NodeId, ...],
        links: Links,
        known: tuple[Plan, ...],
    ) -> PlanMap | None:
        """Every plan worth knowing at any rate of the radio, and the `known` ones, for wires as they are now: the same
        object as long as nothing is to be added.

        None where plans can't be compared by their latency (orchestrator.mapping.is_mappable).
        """
        wires = tuple((*link.ends, on_grid(link.bytes_per_s, WIRE_STEPS)) for link in links_at(UNLIMITED))
        asked = (kind, wires, excluded)
        if asked not in self._maps:
            is_fit = is_mappable(blueprint.problem(links, excluded))
            empty = PlanMap(plans=(), links=links, ranges=tuple(_all_of_it(link) for link in links), jointly=True)
            self._maps[asked] = with_plans(empty, blueprint, _plans(blueprint, links_at, excluded)) if is_fit else None
        drawn = self._maps[asked]
        if drawn is None:
            return None
        self._maps[asked] = drawn = with_plans(drawn, blueprint, known)
        return drawn


def _all_of_it(link: LinkEstimate) -> LinkRange:
    low, high = link.bytes_per_s / WIDE, link.bytes_per_s * WIDE
    return LinkRange(source=link.source, target=link.target, low_bytes_per_s=low, high_bytes_per_s=high)


def _plans(blueprint: Blueprint, links_at: LinksAt, excluded: tuple[NodeId, ...]) -> Iterator[Plan]:
    source = blueprint.spec.source
    others = [node.name for node in blueprint.spec.topology.nodes if node.name not in (source, *excluded)]
    gone = [((), STEPS), *(((other,), LOST_STEPS) for other in others), (tuple(others), LOST_STEPS)]
    for less, steps in gone:
        for step in range(DECADES * steps + 1):
            links = links_at(SLOWEST * 10 ** (step / steps))
            try:
                plan = blueprint.find(links, (*excluded, *less))
            except PartitionerError:  # nothing is left that could run it
                continue
            if isinstance(plan, Plan):
                yield plan


def on_grid(rate: float, steps: int) -> float:
    """The nearest of so many rates in a decade, at equal ratios."""
    return float(10 ** (round(log10(rate) * steps) / steps))
