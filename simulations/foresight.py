"""What is foreseen before a simulation begins: machines, devices and cells that are asked for more than they can do.

ρ = what is asked for a second, at the time line's busiest, over what is done a second, under the plans with which the
scenario begins. At ρ ≥ 1 a queue grows as long as the load lasts: that is said, then simulated.
"""

from collections import defaultdict
from collections.abc import Iterable

from partitioner.plan import Plan
from simulations.air import UNREACHED
from simulations.crowd import mean_per_s
from simulations.radio.scheduling import gains
from simulations.scenario import Scenario

STABLE = 1.0


def most_times(scenario: Scenario, group: str) -> float:
    """By what a group's rate is multiplied at its busiest, as the time line has it."""
    return max([1.0, *(change.times for change in scenario.changes if change.group == group)])


def foreseen(scenario: Scenario, users: Iterable[tuple[int, str, Plan, float, float]]) -> tuple[str, ...]:
    """A line for each ρ of 1 and above. `users`: each one's group, cell, plan, and rate alone up and down, bits/s."""
    load: dict[str, float] = defaultdict(float)
    per_s = [mean_per_s(group) * most_times(scenario, group.name) for group in scenario.groups]
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
    return tuple(
        f"{name}: ρ = {rho:.2f}, its queue grows as long as that lasts" for name, rho in load.items() if rho >= STABLE
    )
