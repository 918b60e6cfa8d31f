"""What is foreseen before a simulation begins: machines, devices, cells and links asked for more than they can do.

ρ = what is asked for a second, at the time line's and the day's busiest, over what is done a second, a link's at its
slowest, under the plans with which the scenario begins. At ρ ≥ 1 a queue grows as long as the load lasts: that is said,
then simulated.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from partitioner.plan import Plan
from simulations.air import UNREACHED
from simulations.backhaul import Ends, Line
from simulations.crowd import busiest_per_s
from simulations.radio.scheduling import gains
from simulations.scenario import Scenario

STABLE = 1.0
Laid = Callable[[str, str], tuple[Line, ...] | None]


def most_times(scenario: Scenario, group: str) -> float:
    """By what a group's rate is multiplied at its busiest, as the time line has it."""
    return max([1.0, *(change.times for change in scenario.changes if change.group == group)])


def slowest(scenario: Scenario) -> dict[Ends, float]:
    """Each link's least rate, bits/s, as the time line has it while it is up."""
    found = {(wire.source, wire.target): wire.bits_per_s for wire in scenario.wires}
    for change in scenario.changes:
        if change.wire is not None and change.bits_per_s and change.is_up:
            found[change.wire] = min(found[change.wire], change.bits_per_s)
    return found


def foreseen(scenario: Scenario, users: Iterable[tuple[int, str, Plan, float, float]], laid: Laid) -> tuple[str, ...]:
    """A line for each ρ of 1 and above. `users`: each one's group, cell, plan, and rate alone up and down, bits/s.

    `laid`: the links that a message takes from one place to another.
    """
    rates = slowest(scenario)
    load: dict[str, float] = defaultdict(float)
    per_s = [busiest_per_s(group, scenario.duration_s) * most_times(scenario, group.name) for group in scenario.groups]
    crowded = gains(scenario.scheduler)[-1]  # a cell carries most while many share it
    servers = {machine.node.name: machine.servers for machine in scenario.machines}
    for group, cell, plan, up, down in users:
        if min(up, down) <= UNREACHED:
            continue  # out of coverage, which is another matter
        device, rate = scenario.groups[group].device, per_s[group]
        here_s = sum(stage.seconds for stage in plan.stages if stage.node == device)
        own = f"users {scenario.groups[group].name}: their own device {device}"
        load[own] = max(load[own], rate * here_s)
        for stage in plan.stages:
            if stage.node != device:
                load[f"node {stage.node}"] += rate * stage.seconds / servers[stage.node]
        for crossing in plan.crossings:
            if crossing.source == device != crossing.target:
                load[f"cell {cell}, up"] += rate * crossing.nbytes * 8 / (up * crowded)
            elif crossing.target == device != crossing.source:
                load[f"cell {cell}, down"] += rate * crossing.nbytes * 8 / (down * crowded)
            ends = (cell if place == device else place for place in (crossing.source, crossing.target))
            for line in (laid(*ends) or ()) if crossing.source != crossing.target else ():
                wire = (line.wire.source, line.wire.target)
                load[f"link {wire[0]} → {wire[1]}"] += rate * crossing.nbytes * 8 / rates[wire]
    return tuple(
        f"{name}: ρ = {rho:.2f}, its queue grows as long as that lasts" for name, rho in load.items() if rho >= STABLE
    )
