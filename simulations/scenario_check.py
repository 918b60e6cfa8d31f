"""What a scenario's entries mean together: every name is known, every cell reaches a machine, every user has a device.

Works on the YAML's models, so that a fault is named by its path in the file.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import networkx as nx

from orchestrator.errors import SpecError
from orchestrator.yaml_file import dotted
from simulations.arrivals import MOST_PER_S
from simulations.moving_check import Fault, moving_faults
from simulations.scenario_models import ChangeModel, ScenarioModel

# Which keys a kind of moving or asking reads, beside those that all do.
MOVING = {
    "standing": (),
    "waypoints": ("speeds_mps", "rest_s"),
    "streets": ("speeds_mps", "block_m"),
    "path": ("points", "spacing_s"),
}
ASKING = {
    "poisson": ("per_s",),
    "regular": ("per_s",),
    "on-off": ("per_s", "on_s", "off_s"),
    "diurnal": ("per_s", "swing", "period_s", "peak_s"),
    "recorded": ("file",),
}
CHANGES = {"link": ("mbps", "rtt_ms", "is"), "node": ("is",), "users": ("ask_times",)}


def check_names(model: ScenarioModel, where: str) -> None:
    """SpecError with the first fault, if there is one."""
    refuse(_faults(model), where)


def refuse(faults: Iterable[Fault], where: str) -> None:
    """SpecError with the first of the faults, if there is one: where, the path in the file, what."""
    for path, what in faults:
        raise SpecError(f"{where}: {dotted(path)}: {what}")


def _faults(model: ScenarioModel) -> Iterator[Fault]:
    cells, nodes = [cell.name for cell in model.cells], {node.name: node for node in model.nodes}
    if model.warmup_s >= model.duration_s:
        yield ("warmup_s",), f"{model.warmup_s:g} s of {model.duration_s:g} s; nothing would be counted"
    if any((cell.band is None) != (model.cells[0].band is None) for cell in model.cells):
        yield ("cells",), "all cells have a band, or all have a trace"
    if model.radio.scheduler != "round-robin" and model.cells[0].band is None:
        yield ("radio", "scheduler"), "what a trace's users got is shared equally; leave it out, or give cells a band"
    if "surroundings" in model.radio.model_fields_set and model.cells[0].band is None:
        yield ("radio", "surroundings"), "plays no part beside traces; leave it out, or give cells a band"
    yield from _doubles("cells", cells)
    yield from _doubles("nodes", [*cells, *(node.name for node in model.nodes)], skip=len(cells))
    yield from _doubles("pipelines", [pipeline.name for pipeline in model.pipelines])
    yield from _doubles("users", [group.name for group in model.users])
    yield from _links(model, [*cells, *nodes])
    yield from _reach(model)
    yield from _sites(model)
    yield from _machines(model)
    yield from _pipelines(model)
    yield from _users(model)
    yield from _kinds(model)
    yield from moving_faults(model)
    yield from _classes(model)
    yield from _timeline(model)
    yield from _policy(model)
    yield from _replicas(model)


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
        if any(set(link.between) == set(before.between) for before in model.links[:number]):
            yield ("links", number, "between"), f"{' and '.join(link.between)} are linked twice; keep one"


def _reach(model: ScenarioModel) -> Iterator[Fault]:
    graph = nx.Graph([tuple(link.between) for link in model.links])
    machines = [node.name for node in model.nodes if node.tier != "device"]
    graph.add_nodes_from([*(cell.name for cell in model.cells), *machines])
    for number, cell in enumerate(model.cells):
        if machines and not any(nx.has_path(graph, cell.name, machine) for machine in machines):
            yield ("cells", number), f"its users reach no node; link {cell.name!r} with one"


def _sites(model: ScenarioModel) -> Iterator[Fault]:
    for number, cell in enumerate(model.cells):
        if cell.site is not None and model.places is None:
            yield ("cells", number, "site"), "there are no places to look it up in; add places: {file: …}"
        if cell.site is not None and "at_m" in cell.model_fields_set:
            yield ("cells", number, "at_m"), "the cell stands at its site; leave one of both out"
    if model.places is not None and all(cell.site is None for cell in model.cells):
        yield ("places",), "no cell stands at one of them; give cells a site, or leave it out"


def _machines(model: ScenarioModel) -> Iterator[Fault]:
    for number, cell in enumerate(model.cells):
        band = cell.band
        if band is not None and 1 < band.down_share + band.up_share < 2:
            both = f"{band.down_share:g} + {band.up_share:g}"
            yield ("cells", number, "band", "up_share"), f"{both} is more than all slots; both 1 mean paired bands"
    for number, node in enumerate(model.nodes):
        beyond = [size for size in node.batch.preferred if size > node.batch.max]
        if beyond:
            yield ("nodes", number, "batch", "preferred"), f"{beyond[0]} is above max, {node.batch.max}"
        if "active_w" in node.model_fields_set and node.active_w < node.idle_w:
            yield ("nodes", number, "active_w"), f"{node.active_w:g} W are less than idle_w, {node.idle_w:g} W"
        if "active_w" in node.model_fields_set and node.power is not None:
            yield ("nodes", number, "active_w"), "power says what it draws; leave one of both out"


def _pipelines(model: ScenarioModel) -> Iterator[Fault]:
    for number, pipeline in enumerate(model.pipelines):
        if pipeline.model is None:
            if pipeline.profile is not None:
                yield ("pipelines", number, "profile"), "plays no part with steps, which have times; leave it out"
            continue
        if pipeline.profile is not None and pipeline.model.endswith(".json"):
            yield ("pipelines", number, "profile"), f"plays no part: {pipeline.model} has its own; leave it out"
        if pipeline.input_kb is not None:
            yield ("pipelines", number, "input_kb"), "plays no part: a model says what it reads; leave it out"


def _users(model: ScenarioModel) -> Iterator[Fault]:
    devices = [node.name for node in model.nodes if node.tier == "device"]
    pipelines = [pipeline.name for pipeline in model.pipelines]
    for number, group in enumerate(model.users):
        if group.name == "all":
            yield ("users", number, "name"), "'all' names everybody together; take another name"
        if group.device not in devices:
            yield ("users", number, "device"), f"no node {group.device!r} of tier device; {_among(devices)}"
        if group.pipeline not in pipelines:
            yield ("users", number, "pipeline"), f"no pipeline {group.pipeline!r}; {_among(pipelines)}"
        if group.budget_ms is not None and group.budget_ms < group.deadline_ms:
            yield ("users", number, "budget_ms"), f"{group.budget_ms:g} ms end before the deadline"


def _kinds(model: ScenarioModel) -> Iterator[Fault]:
    """Keys that are of no use to a group's kind of moving or asking."""
    for number, group in enumerate(model.users):
        for part, entry, kinds in (("moving", group.moving, MOVING), ("asking", group.asking, ASKING)):
            readers = {key: [kind for kind, keys in kinds.items() if key in keys] for key in type(entry).model_fields}
            for key, read_by in readers.items():
                is_given = key in entry.model_fields_set and getattr(entry, key) is not None
                if is_given and read_by and entry.kind not in read_by:
                    what = f"plays no part with kind: {entry.kind}; leave it out, or take kind: {' or '.join(read_by)}"
                    yield ("users", number, part, key), what


def rate_faults(model: ScenarioModel, recorded: Mapping[int, float]) -> Iterator[Fault]:
    """Groups that ask more often than can be simulated. `recorded`: arrivals a second, by the group's number."""
    for number, group in enumerate(model.users):
        per_s = recorded.get(number, group.count * (group.asking.per_s or 0.0))
        times = max([1.0, *(one.ask_times or 1.0 for one in model.timeline if one.users == group.name)])
        if per_s * times > MOST_PER_S:
            said = f"{per_s * times:,.0f} requests a second of all its users at most"
            yield ("users", number, "asking"), f"{said}; {MOST_PER_S:,.0f} can be simulated: take fewer users"


def _classes(model: ScenarioModel) -> Iterator[Fault]:
    yield from class_faults(model, {one.name: one.classes for one in model.pipelines if one.steps})


def class_faults(model: ScenarioModel, classes: Mapping[str, set[str]]) -> Iterator[Fault]:
    """Nodes like none that was measured. `classes`: those of nodes that have times for all of a pipeline, by name."""
    if len(classes) == len(model.pipelines):
        every = set.union(*classes.values())
        for place, node in enumerate(model.nodes):
            if node.like not in every:
                yield ("nodes", place, "like"), f"no pipeline has times of class {node.like!r}; {_among(sorted(every))}"
    for number, pipeline in enumerate(model.pipelines):
        if pipeline.name not in classes:
            continue
        known = classes[pipeline.name]
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
    yield from _hidden_ups(model)
    for number, change in enumerate(model.timeline):
        for what, key in _unread(change):
            said = f"plays no part in a change of {what}, which is told by {' or '.join(CHANGES[what])}; leave it out"
            yield ("timeline", number, key), said
        if change.is_ == "down" and change.mbps is not None:
            yield ("timeline", number, "mbps"), "what is down has no rate; leave it out"
        if change.at_s > model.duration_s:
            yield ("timeline", number, "at_s"), f"{change.at_s:g} s is after the end at {model.duration_s:g} s"
        if change.link is not None and frozenset(change.link) not in links:
            yield ("timeline", number, "link"), f"no link between {' and '.join(change.link)}"
        if change.node is not None and change.node not in nodes:
            yield ("timeline", number, "node"), f"no node {change.node!r} beyond the devices; {_among(nodes)}"
        if change.users is not None and change.users not in groups:
            yield ("timeline", number, "users"), f"no users {change.users!r}; {_among(groups)}"


def _unread(change: ChangeModel) -> Iterator[tuple[str, str]]:
    """What changes, with each key that says nothing of it."""
    what = "link" if change.link else "node" if change.node else "users"
    for key in CHANGES["link"] + CHANGES["users"]:
        if key not in CHANGES[what] and getattr(change, "is_" if key == "is" else key) is not None:
            yield what, key


def _hidden_ups(model: ScenarioModel) -> Iterator[Fault]:
    """Changes of a link that is down, which do not say whether it is up again."""
    down_s: dict[frozenset[str], float] = {}
    for number, change in sorted(enumerate(model.timeline), key=lambda one: one[1].at_s):
        if change.link is None:
            continue
        ends = frozenset(change.link)
        if change.is_ is None and ends in down_s:
            yield ("timeline", number), f"the link is down since {down_s[ends]:g} s; say as well is: up"
        if change.is_ == "down":
            down_s[ends] = change.at_s
        else:
            down_s.pop(ends, None)


def _policy(model: ScenarioModel) -> Iterator[Fault]:
    kind, tiers = model.policy.kind, sorted({node.tier for node in model.nodes})
    if kind in ("device", "edge", "cloud") and kind not in tiers:
        yield ("policy", "kind"), f"all is to run on tier {kind}, of which there is no node; {_among(tiers)}"
    if model.policy.rule is not None and kind != "adaptive":
        yield ("policy", "rule"), f"policy {kind!r} asks no rule; leave it out, or take kind: adaptive"


def _replicas(model: ScenarioModel) -> Iterator[Fault]:
    tiers = Counter(node.tier for node in model.nodes if node.tier != "device")
    most = max(tiers.values(), default=1)
    for number, pipeline in enumerate(model.pipelines):
        if pipeline.replicas > most:
            what = f"{pipeline.replicas}, while a tier has at most {most} that can share a stage"
            yield ("pipelines", number, "replicas"), what
        if pipeline.replicas > 1 and model.policy.kind != "adaptive":
            yield ("pipelines", number, "replicas"), f"nobody scales under policy {model.policy.kind!r}; leave it out"


def _among(names: Iterable[str]) -> str:
    return f"there are {', '.join(names) or 'none'}"
