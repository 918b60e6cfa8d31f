"""Energy and money of a replication, from how long everything worked: E = ∫ P dt, to the last digit.

A machine draws `idle_w` all the time and the rest of `active_w` for each of its servers while that works; users'
devices likewise, and their radios what phones were measured to (simulations.radio.energy). Wires and leased machines
cost what the scenario says.
"""

from collections.abc import Iterable, Mapping

from partitioner.topology import Tier
from simulations.backhaul import Line
from simulations.machines import Machine
from simulations.scenario import Machine as Spec
from simulations.scenario import Scenario
from simulations.stations import Queue

PLACES = {Tier.DEVICE: "ue", Tier.EDGE: "mec", Tier.CLOUD: "cloud"}


def drawn_j(spec: Spec, busy_s: float, span_s: float) -> float:
    """What a machine draws of which its servers worked `busy_s` together."""
    idle_w, active_w = spec.node.idle_w or 0.0, spec.node.active_w or 0.0
    return idle_w * span_s + max(active_w - idle_w, 0.0) * busy_s / spec.servers


def energy(
    scenario: Scenario,
    machines: Mapping[str, Machine],
    devices: Mapping[str, Iterable[Queue]],
    lines: Iterable[Line],
    radio_j: float,
) -> dict[str, float]:
    """Joules by place: `ue_j` (with the radios), `mec_j`, `cloud_j`, `wires_j`, and all together."""
    span_s = scenario.duration_s
    joules = {"ue_j": radio_j, "mec_j": 0.0, "cloud_j": 0.0}
    for spec in scenario.machines:
        name = spec.node.name
        if spec.node.tier is Tier.DEVICE:
            users = sum(group.count for group in scenario.groups if group.device == name)
            idle_w, active_w = spec.node.idle_w or 0.0, spec.node.active_w or 0.0
            busy_s = sum(_busy_s(queue) for queue in devices.get(name, ()))
            joules["ue_j"] += idle_w * span_s * users + max(active_w - idle_w, 0.0) * busy_s
        else:
            machines[name].held.settle()
            joules[f"{PLACES[spec.node.tier]}_j"] += drawn_j(spec, machines[name].held.busy_s, span_s)
    joules["wires_j"] = sum(line.wire.j_per_byte * line.carried_bytes for line in lines)
    return joules | {"energy_j": sum(joules.values())}


def cost(scenario: Scenario, lines: Iterable[Line]) -> dict[str, float]:
    """Dollars: machines by the hour whether they work or not, wires by the byte."""
    hours = scenario.duration_s / 3600
    machines = sum((spec.node.usd_per_hour or 0.0) * hours for spec in scenario.machines if spec.node.tier)
    wires = sum(line.wire.usd_per_byte * line.carried_bytes for line in lines)
    return {"machines_usd": machines, "wires_usd": wires, "cost_usd": machines + wires}


def _busy_s(queue: Queue) -> float:
    queue.held.settle()
    return queue.held.busy_s
