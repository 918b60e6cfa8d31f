"""What a scenario's entries mean together: every name is known, every cell reaches a machine, every user has a device.

Works on the YAML's models, so that a fault is named by its path in the file.
"""

from collections.abc import Iterable, Iterator

import networkx as nx

from orchestrator.errors import SpecError
from orchestrator.yaml_file import dotted
from simulations.scenario_models import ScenarioModel

Fault = tuple[tuple[str | int, ...], str]


def check_names(model: ScenarioModel, where: str) -> None:
    """SpecError with the first fault, if there is one."""
    for path, what in _faults(model):
        raise SpecError(f"{where}: {dotted(path)}: {what}")


def _faults(model: ScenarioModel) -> Iterator[Fault]:
    cells, nodes = [cell.name for cell in model.cells], {node.name: node for node in model.nodes}
    yield from _doubles("cells", cells)
    yield from _doubles("nodes", [*cells, *(node.name for node in model.nodes)], skip=len(cells))
    yield from _doubles("pipelines", [pipeline.name for pipeline in model.pipelines])
    yield from _doubles("users", [group.name for group in model.users])
    yield from _links(model, [*cells, *nodes])
    yield from _reach(model)
    yield from _users(model)
    yield from _classes(model)
    yield from _timeline(model)
    if model.warmup_s >= model.duration_s:
        yield ("warmup_s",), f"{model.warmup_s:g} s of {model.duration_s:g} s; nothing would be counted"
    if any((cell.band is None) != (model.cells[0].band is None) for cell in model.cells):
        yield ("cells",), "all cells have a band, or all have a trace"


def _doubles(what: str, names: list[str], *, skip: int = 0) -> Iterator[Fault]:
    for number, name in enumerate(names):
        if name in names[:number] and number >= skip:
            yield (what, number - skip, "name"), f"{name!r} is used twice; give each its own name"


def _links(model: ScenarioModel, known: list[str]) -> Iterator[Fault]:
    devices = [node.name for node in model.nodes if node.tier == "device"]
    for number, link in enumerate(model.links):
        for end in link.between:
            if end not in known:
                yield ("links", number, "between"), f"no cell or node {end!r}; there are {', '.join(known)}"
            if end in devices:
                yield ("links", number, "between"), f"{end!r} is a device: users reach the network by their cell"
        if link.between[0] == link.between[1]:
            yield ("links", number, "between"), f"{link.between[0]!r} is linked with itself"


def _reach(model: ScenarioModel) -> Iterator[Fault]:
    graph = nx.Graph([tuple(link.between) for link in model.links])
    machines = [node.name for node in model.nodes if node.tier != "device"]
    graph.add_nodes_from([*(cell.name for cell in model.cells), *machines])
    for number, cell in enumerate(model.cells):
        if machines and not any(nx.has_path(graph, cell.name, machine) for machine in machines):
            yield ("cells", number), f"its users reach no node; link {cell.name!r} with one"


def _users(model: ScenarioModel) -> Iterator[Fault]:
    devices = [node.name for node in model.nodes if node.tier == "device"]
    pipelines = [pipeline.name for pipeline in model.pipelines]
    for number, group in enumerate(model.users):
        if group.device not in devices:
            yield ("users", number, "device"), f"no node {group.device!r} of tier device; {_among(devices)}"
        if group.pipeline not in pipelines:
            yield ("users", number, "pipeline"), f"no pipeline {group.pipeline!r}; {_among(pipelines)}"
        if group.budget_ms is not None and group.budget_ms < group.deadline_ms:
            yield ("users", number, "budget_ms"), f"{group.budget_ms:g} ms end before the deadline"


def _classes(model: ScenarioModel) -> Iterator[Fault]:
    for number, pipeline in enumerate(model.pipelines):
        if not pipeline.steps:
            continue
        known = set.intersection(*(set(step.ms) for step in pipeline.steps))
        for place, node in enumerate(model.nodes):
            is_used = node.tier == "device" and any(
                group.device == node.name and group.pipeline == pipeline.name for group in model.users
            )
            if is_used and node.like not in known:
                what = f"pipelines[{number}] has no time of class {node.like!r} for every step"
                yield ("nodes", place, "like"), f"{what}; it has {', '.join(sorted(known)) or 'none'}"


def _timeline(model: ScenarioModel) -> Iterator[Fault]:
    links = [frozenset(link.between) for link in model.links]
    nodes = [node.name for node in model.nodes if node.tier != "device"]
    groups = [group.name for group in model.users]
    for number, change in enumerate(model.timeline):
        if change.at_s > model.duration_s:
            yield ("timeline", number, "at_s"), f"{change.at_s:g} s is after the end at {model.duration_s:g} s"
        if change.link is not None and frozenset(change.link) not in links:
            yield ("timeline", number, "link"), f"no link between {' and '.join(change.link)}"
        if change.node is not None and change.node not in nodes:
            yield ("timeline", number, "node"), f"no node {change.node!r} beyond the devices; {_among(nodes)}"
        if change.users is not None and change.users not in groups:
            yield ("timeline", number, "users"), f"no users {change.users!r}; {_among(groups)}"


def _among(names: Iterable[str]) -> str:
    return f"there are {', '.join(names) or 'none'}"
