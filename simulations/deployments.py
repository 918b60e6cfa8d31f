"""The deployments of a scenario: each pipeline, for each kind of device, as seen from each cell.

Users of a cell see every machine over the cell and the backhaul behind it, as streams measure it: one link a machine
each way, whatever it is made of. So a deployment's topology has the device, the machines that its cell reaches and such
links; its blueprint is what a live deployment plans with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.blueprint import Blueprint
from orchestrator.links_seen import LinkEstimate
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.load import Model
from partitioner.profile import EngineKey, Profile
from partitioner.topology import Link, Node, Tier, Topology
from simulations.backhaul import Backhaul, Line
from simulations.errors import SimulationsError
from simulations.radio.energy import RadioPower
from simulations.scenario import Machine, Pipeline, Scenario

LOCAL_BYTES_PER_S = 1e12  # where nothing lies between two places
Spent = Mapping[tuple[str, str], tuple[float, float]]  # by a link's ends
TIERS = {"device": Tier.DEVICE, "edge": Tier.EDGE, "cloud": Tier.CLOUD}  # of policies that allow no other
LEAST_BYTES_PER_S = 1.0  # of a link that is down: planners want a rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """What the radio gives at one cell: bits a second each way, and seconds that a packet takes each way."""

    up_bits_per_s: float
    down_bits_per_s: float
    up_s: float
    down_s: float


def links_from(
    backhaul: Backhaul, cell: str, device: str, machines: Mapping[str, Machine], leg: Leg
) -> tuple[LinkEstimate, ...]:
    """Every link of the deployment at this cell as it is now: device to machines and back, machine to machine."""
    found = []
    for name in machines:
        for ends, way, rate, delay_s in (
            ((device, name), backhaul.way(cell, name), leg.up_bits_per_s, leg.up_s),
            ((name, device), backhaul.way(name, cell), leg.down_bits_per_s, leg.down_s),
        ):
            if way is not None:
                found.append(_link(ends, way, rate, delay_s))
    for one in machines:
        for other in machines:
            way = backhaul.way(one, other) if one != other else None
            if way is not None:
                found.append(_link((one, other), way, None, 0.0))
    return tuple(found)


def spent_over(
    backhaul: Backhaul, cell: str, device: str, links: tuple[LinkEstimate, ...], radio: Mapping[str, RadioPower]
) -> Spent:
    """Joules and dollars of a byte over each link: of the wires under it, and of the user's radio meanwhile."""
    spent = {}
    for link in links:
        one, other = (cell if end == device else end for end in link.ends)
        way = backhaul.way(one, other) or ()
        joules, dollars = sum(line.wire.j_per_byte for line in way), sum(line.wire.usd_per_byte for line in way)
        if device in link.ends:
            power = radio["up" if link.source == device else "down"]
            joules += power.joules(8.0, 1 / link.bytes_per_s)
        spent[link.ends] = (joules, dollars)
    return spent


def _link(ends: tuple[str, str], way: tuple[Line, ...], bits_per_s: float | None, delay_s: float) -> LinkEstimate:
    """Stored and forwarded: seconds a byte add up over the way."""
    s_per_byte = 0.0 if bits_per_s is None else 8 / max(bits_per_s, 8 * LEAST_BYTES_PER_S)
    s_per_byte += sum(8 / max(line.free_bits_per_s, 8 * LEAST_BYTES_PER_S) for line in way)
    rate = 1 / s_per_byte if s_per_byte else LOCAL_BYTES_PER_S
    propagation_s = delay_s + sum(line.propagation_s for line in way)
    return LinkEstimate(source=ends[0], target=ends[1], bytes_per_s=rate, propagation_s=propagation_s)


def blueprint_of(
    scenario: Scenario,
    pipeline: Pipeline,
    found: tuple[Model, Profile],
    device: str,
    links: tuple[LinkEstimate, ...],
    spent: Spent,
) -> Blueprint:
    """What is planned for users with this device, under these first guesses of their links; a byte over one is `spent`.

    SimulationsError if no machine among the device and those linked can run the pipeline.
    """
    model, profile = found
    reached = dict.fromkeys([device, *(link.target for link in links)])
    machines = [machine for machine in scenario.machines if machine.node.name in reached]
    tier = TIERS.get(scenario.policy.kind)
    engines = {
        machine.node.name: tuple(key for key in profile.engines if key.node_class == machine.profiled_as)
        for machine in machines
        if tier in (None, machine.node.tier)
    }
    if not any(engines.values()):
        known = ", ".join(sorted({key.node_class for key in profile.engines})) or "none"
        where = "no node" if tier is None else f"no node of tier {tier.name.lower()}"
        raise SimulationsError(f"pipelines.{pipeline.name}: {where} is like any that it was measured on ({known})")
    as_links = (
        Link(
            source=link.source,
            target=link.target,
            bytes_per_s=link.bytes_per_s,
            propagation_s=link.propagation_s,
            j_per_byte=spent[link.ends][0],
            usd_per_byte=spent[link.ends][1],
        )
        for link in links
    )
    spec = DeploymentSpec(
        name=pipeline.name,
        model=pipeline.model or Path(pipeline.name),
        topology=Topology(nodes=tuple(_offering(one.node, engines) for one in machines), links=tuple(as_links)),
        source=device,
        inputs=tuple(InputSpec(name=name, at=device, private=pipeline.private) for name in model.graph.inputs),
        objective=pipeline.objective,
        max_error=pipeline.max_error,
        standby_bytes=pipeline.standby_bytes if scenario.policy.kind == "adaptive" else 0,
        most_replicas=pipeline.replicas,
    )
    return Blueprint(spec=spec, model=model, profile=profile, engines=engines)


def _offering(node: Node, engines: Mapping[str, tuple[EngineKey, ...]]) -> Node:
    """With the engines that were measured on its like: only who has a stage's engine may share it."""
    return replace(node, backends=tuple(dict.fromkeys(key.backend for key in engines.get(node.name, ()))))
