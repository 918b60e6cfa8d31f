"""Users whom no cell reaches when a scenario begins, in any of its replications: said before anything is simulated.

Everybody who stands must be reached both ways, alone and with every other cell silent; of users who move at least one
of their group, as the others may come into coverage. What traces carry is theirs to say: a silent one is no fault.
"""

from collections.abc import Iterator

from simulations import build
from simulations.air import DIRECTIONS, UNREACHED, Air, check_reached
from simulations.draws import Draws
from simulations.engine import Engine
from simulations.errors import OutOfRange
from simulations.moving_check import Fault
from simulations.scenario import Scenario


def unreached(scenario: Scenario) -> Iterator[Fault]:
    """Each group that has such users, by its path in the file."""
    if any(cell.traced is not None for cell in scenario.cells):
        return
    for replication in range(scenario.replications):
        air = build.air(scenario, Engine(), Draws(scenario.seed, replication))
        for number, (group, first) in enumerate(zip(scenario.groups, build.first_users(scenario), strict=True)):
            lost = [user for user in range(first, first + group.count) if _is_lost(air, user)]
            if group.moving.kind != "standing" and len(lost) < group.count:
                continue
            names = [_named(scenario, air, user, user - first, group.name, replication) for user in lost]
            try:
                check_reached({way: [air.alone[way][user] for user in lost] for way in DIRECTIONS}, names)
            except OutOfRange as error:
                yield ("users", number), str(error)


def _is_lost(air: Air, user: int) -> bool:
    return any(air.alone[way][user] <= UNREACHED for way in DIRECTIONS)


def _named(scenario: Scenario, air: Air, user: int, number: int, group: str, replication: int) -> str:
    cell = scenario.cells[air.cell_of[user]].name
    return f"user {number} of {group!r}, nearest cell {cell!r}, in replication {replication}"
