"""Builds the parts of a replication from a scenario's values and its lots. It runs nothing."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import numpy as np

from partitioner.load import Model
from partitioner.profile import Profile
from partitioner.topology import Tier
from simulations import crowd
from simulations.air import Air, Channel, RadioChannel, TracedChannel
from simulations.backhaul import Backhaul
from simulations.draws import Draws
from simulations.engine import Engine
from simulations.machines import Machine
from simulations.radio.scheduling import gains
from simulations.requests import Fabric
from simulations.routers import User
from simulations.scenario import Cell, Pipeline, Scenario, Wavering
from simulations.scenario import Machine as SpecMachine
from simulations.traces.link_trace import LinkTrace
from simulations.traces.markov import MarkovModel
from simulations.wavering import drawn
from simulations.ways import Service

MANY = 100_000  # requests: below, plain Python is done before anything is compiled
MOST_USERS, MOST_PLACES, MOST_STATIONS = 1 << 15, 1 << 8, 1 << 10  # as simulations.compiled.state
Read = dict[str, tuple[Model, Profile]]  # graphs and profiles of the pipelines, by name


def air(scenario: Scenario, engine: Engine, draws: Draws) -> Air:
    """Users at their places, served by cells."""
    channel = channel_of(scenario, draws)
    return Air(engine, channel, len(scenario.cells), scenario.generation, draws.of("waking"), gains(scenario.scheduler))


def fabric(scenario: Scenario, draws: Draws, begin_s: float, *, compiled: bool) -> Fabric:
    """Cells, wires, machines and devices at this time; all but what decides is compiled, if that is wanted."""
    cells = tuple(cell.name for cell in scenario.cells)
    if not compiled:
        engine = Engine(begin_s)
        sky, wires = air(scenario, engine, draws), Backhaul(engine, scenario.wires)
        return Fabric(engine, sky, wires, machines(scenario, engine), cells, scenario.core_s)
    from simulations.compiled import fabric as made  # numba takes a second to load

    fast = made.CompiledEngine(begin_s, len(cells))
    nodes, channel = machines(scenario, fast), channel_of(scenario, draws)
    above = made.CompiledAir(
        fast, channel, len(cells), scenario.generation, draws.of("waking"), gains(scenario.scheduler)
    )
    laid = made.CompiledBackhaul(fast, scenario.wires, cells, tuple(nodes))
    return cast("Fabric", made.CompiledFabric(fast, above, laid, nodes, cells, scenario.core_s))


def is_large(scenario: Scenario) -> bool:
    """Whether compiling pays: it comes to many requests, and to no more of anything than there is room for."""
    users = sum(group.count for group in scenario.groups)
    requests = scenario.duration_s * sum(group.count * crowd.mean_per_s(group) for group in scenario.groups)
    fits = users <= MOST_USERS and len(scenario.cells) + len(scenario.machines) <= MOST_PLACES
    return requests >= MANY and fits and 2 * len(scenario.cells) + len(scenario.wires) <= MOST_STATIONS


def channel_of(scenario: Scenario, draws: Draws) -> Channel:
    """What gives users their cells and rates."""
    places = crowd.positions(scenario, draws)
    stations = [cell.station for cell in scenario.cells if cell.station is not None]
    if stations:
        return RadioChannel(stations, places, draws.of("radio"))
    traces = [_traces(cell, scenario.duration_s, draws) for cell in scenario.cells]
    return TracedChannel(traces, np.array([cell.at_m for cell in scenario.cells]), places)


def _traces(cell: Cell, length_s: float, draws: Draws) -> tuple[LinkTrace, LinkTrace]:
    assert cell.traced is not None
    up, down = (
        _course(trace, way, cell.name, length_s, draws)
        for way, trace in (("up", cell.traced.up), ("down", cell.traced.down))
    )
    return up, down


def _course(trace: LinkTrace | Wavering | MarkovModel, way: str, cell: str, length_s: float, draws: Draws) -> LinkTrace:
    match trace:
        case Wavering():
            return drawn(trace, length_s, draws.of(f"trace {way}", cell), draws.of("silence", cell))
        case MarkovModel():
            return trace.draw(length_s, draws.of("trace", cell))  # both ways the same, as one file is for both
        case _:
            return trace


def machines(scenario: Scenario, engine: Engine) -> dict[str, Machine]:
    """All that are no devices, by name."""
    return {
        one.node.name: Machine(engine, one.node.name, one.servers, one.rules)
        for one in scenario.machines
        if one.node.tier is not Tier.DEVICE
    }


def services(scenario: Scenario, draws: Draws, read: Read) -> dict[str, Service]:
    """What runs of each pipeline take beside what is planned, by its name."""
    return {
        pipeline.name: Service(
            curves={one.node.name: _curve(one.profiled_as, read[pipeline.name][1]) for one in scenario.machines},
            stretch=_stretch(pipeline, draws),
            work_s=partial(_work_s, {one.node.name: one for one in scenario.machines}, read[pipeline.name][1]),
        )
        for pipeline in scenario.pipelines
    }


def _work_s(machines: Mapping[str, SpecMachine], profile: Profile, operators: tuple[str, ...], name: str) -> float:
    """What operators take on a node one after the other, on its fastest engine."""
    machine = machines[name]
    times = (engine.operator_s for key, engine in profile.engines.items() if key.node_class == machine.profiled_as)
    return min(sum(each.get(operator, 0.0) for operator in operators) for each in times) / machine.speed


def _curve(like: str, profile: Profile) -> dict[int, float]:
    """Seconds of batches on that class of node, by the first engine that was measured in batches there."""
    for key, engine in profile.engines.items():
        if key.node_class == like and engine.batch_s:
            return dict(engine.batch_s)
    return {}


def _stretch(pipeline: Pipeline, draws: Draws) -> Callable[[], float] | None:
    """What each run's seconds are multiplied by, log-normal about 1; None for always 1."""
    if not pipeline.variation:
        return None
    draw, sigma2 = draws.of("service", pipeline.name), float(np.log1p(pipeline.variation**2))
    left: list[float] = []

    def next_one() -> float:
        if not left:
            left.extend(draw.lognormal(-sigma2 / 2, sigma2**0.5, 4096).tolist())
        return left.pop()

    return next_one


def users(scenario: Scenario) -> list[User]:
    """All users, group after group, numbered from 0."""
    found: list[User] = []
    for number, group in enumerate(scenario.groups):
        found += [User(len(found) + one, number, group) for one in range(group.count)]
    return found


def first_users(scenario: Scenario) -> list[int]:
    """The number of each group's first user."""
    counts = [group.count for group in scenario.groups]
    return [sum(counts[:number]) for number in range(len(counts))]
