"""A scenario's YAML file and the values that it means. What is wrong is said in one line, with the path in the file.

Paths of models, profiles, traces and arrivals count from the file's own folder. Ready-made scenarios go by name.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes.batching import BatchRules
from orchestrator.errors import SpecError
from orchestrator.yaml_file import check, read_yaml
from partitioner.topology import Node, Tier
from simulations import scenario_models as yaml
from simulations.air import DIRECTIONS
from simulations.arrivals import read_arrivals
from simulations.coverage import unreached
from simulations.errors import SimulationsError
from simulations.models import read_found
from simulations.own_rule import read_rule
from simulations.radio.access import GENERATIONS
from simulations.radio.carrier import Carrier, Direction
from simulations.radio.link_adaptation import QAM64, QAM256
from simulations.radio.network import Station
from simulations.radio.path_loss import ENVIRONMENTS
from simulations.scenario import (
    Asking,
    Cell,
    Change,
    Group,
    Machine,
    Moving,
    Pipeline,
    Point,
    Policy,
    Scenario,
    Step,
    TracedLink,
    Wavering,
    Wire,
)
from simulations.scenario_check import check_names, class_faults, rate_faults, refuse
from simulations.traces.files import Files
from simulations.traces.link_trace import LinkTrace
from simulations.traces.markov import LAGS, Likeness, MarkovModel
from simulations.traces.power_model import Setting

READY_MADE = Path(__file__).with_name("scenarios")
SENDS_DBM = {"UMi": 44.0, "UMa": 49.0}
BUDGET_S = 30.0
UNLIKE = 0.2  # in mean or distribution or autocorrelation: a drawn trace that is said to be unlike its source


def ready_made() -> tuple[str, ...]:
    """Names of the scenarios that come with the package."""
    return tuple(sorted(path.stem for path in READY_MADE.glob("*.yaml")))


def load_scenario(named: Path | str) -> Scenario:
    """The scenario in a file, or the ready-made one of that name. SpecError in one line for whatever is wrong."""
    path = Path(named)
    if str(named) in ready_made():
        path = READY_MADE / f"{named}.yaml"
    elif not path.exists():
        raise SpecError(f"{named}: no such file, and no ready-made scenario; these are {', '.join(ready_made())}")
    return parse_scenario(read_yaml(path), where=str(path), folder=path.parent)


def parse_scenario(data: Any, *, where: str, folder: Path) -> Scenario:
    """The scenario that `data`, as YAML gives it, means. Files that it names are read once, to be sure of them."""
    model = check(yaml.ScenarioModel, data, where=where)
    check_names(model, where)
    remarks: list[str] = []
    files = Files(folder)
    cells = tuple(_cell(model, number, files, where, remarks) for number in range(len(model.cells)))
    pipelines = tuple(_pipeline(pipeline, folder) for pipeline in model.pipelines)
    _check_files(model, pipelines, where, folder)
    if model.policy.rule is not None:
        with _at(where, "policy.rule"):
            read_rule(model.policy.rule, folder)
    scenario = Scenario(
        name=model.name,
        about=model.about,
        seed=model.seed,
        replications=model.replications,
        duration_s=model.duration_s,
        warmup_s=model.warmup_s,
        step_s=model.radio.step_s,
        core_s=model.radio.core_ms / 1e3,
        generation=GENERATIONS[model.radio.generation],
        scheduler=model.radio.scheduler,
        cells=cells,
        machines=tuple(_machine(node, _active_w(node, n, files, where)) for n, node in enumerate(model.nodes)),
        wires=tuple(wire for link in model.links for wire in _wires(link)),
        pipelines=pipelines,
        groups=tuple(_group(group, folder) for group in model.users),
        changes=tuple(sorted((each for one in model.timeline for each in _changes(one)), key=lambda one: one.at_s)),
        policy=Policy(**model.policy.model_dump(), folder=folder),
        remarks=tuple(remarks),
    )
    refuse(unreached(scenario), where)
    return scenario


def _check_files(model: yaml.ScenarioModel, pipelines: tuple[Pipeline, ...], where: str, folder: Path) -> None:
    """Pipelines' files hold what they should, and times of nodes like these; so do recorded arrivals."""
    classes, recorded = {}, {}
    for number, pipeline in enumerate(pipelines):
        for key, path in (("model", pipeline.model), ("profile", pipeline.profile)):
            if path is not None and path.is_dir():
                refuse([(("pipelines", number, key), f"{path} is a folder; give the path of a file")], where)
        if pipeline.profile is not None and not pipeline.profile.exists():
            missing = f"{pipeline.profile}: no such file; isthmus profile writes one"
            refuse([(("pipelines", number, "profile"), missing)], where)
        with _at(where, f"pipelines[{number}].model"):
            classes[pipeline.name] = {key.node_class for key in read_found(pipeline)[1].engines}
    refuse(class_faults(model, classes), where)
    for number, group in enumerate(model.users):
        if group.asking.file is not None:
            with _at(where, f"users[{number}].asking.file"):
                recorded[number] = read_arrivals(folder / group.asking.file).mean_per_s
    refuse(rate_faults(model, recorded), where)


@contextmanager
def _at(where: str, path: str) -> Iterator[None]:
    """What is raised within is a fault of the entry at this path."""
    try:
        yield
    except (SimulationsError, SpecError) as error:
        raise SpecError(f"{where}: {path}: {error}") from None


def _cell(model: yaml.ScenarioModel, number: int, files: Files, where: str, remarks: list[str]) -> Cell:
    cell, path = model.cells[number], f"cells[{number}]"
    east_m, north_m = cell.at_m
    if model.places is not None and cell.site is not None:
        origin = model.places.origin
        with _at(where, "places"):
            places = files.places(model.places.file, None if origin is None else (origin[0], origin[1]))
        with _at(where, f"{path}.site"):
            east_m, north_m = places.place(cell.site)
    at_m = (east_m, north_m)
    if cell.trace is not None:
        return Cell(name=cell.name, at_m=at_m, traced=_traced(cell.trace, f"{path}.trace", files, where, remarks))
    assert cell.band is not None
    return Cell(name=cell.name, at_m=at_m, station=_station(model, number, at_m, files, where))


def _station(model: yaml.ScenarioModel, number: int, at_m: Point, files: Files, where: str) -> Station:
    cell, surroundings = model.cells[number], model.radio.surroundings
    assert cell.band is not None
    band, path, schemes = cell.band, f"cells[{number}].band", {"down": QAM256, "up": QAM64}
    with _at(where, path):
        carrier = Carrier(
            ghz=band.ghz, mhz=band.mhz, spacing_khz=band.spacing_khz, down_share=band.down_share,
            up_share=band.up_share,
        )  # fmt: skip
    for way in schemes:
        if band.block_errors is not None and (name := getattr(band.block_errors, way)) is not None:
            with _at(where, f"{path}.block_errors.{way}"):
                schemes[way] = files.block_errors(name)
    return Station(
        name=cell.name,
        east_m=at_m[0],
        north_m=at_m[1],
        environment=ENVIRONMENTS[surroundings],
        carrier=carrier,
        power_dbm=SENDS_DBM[surroundings] if band.power_dbm is None else band.power_dbm,
        down_layers=band.layers.down,
        up_layers=band.layers.up,
        down_schemes=schemes["down"],
        up_schemes=schemes["up"],
    )


def _traced(trace: yaml.TraceModel, path: str, files: Files, where: str, remarks: list[str]) -> TracedLink:
    """Each way as drawn, if it is given so, or else by the file."""
    found: dict[Direction, LinkTrace | Wavering | MarkovModel] = {}
    said: dict[str, None] = {}  # of one file once, whichever ways it is for
    for way in DIRECTIONS:
        given = trace.up if way == "up" else trace.down
        if given is not None:
            found[way] = _wavering(given)
            continue
        with _at(where, f"{path}.{trace.source}"):
            found[way], told = _recorded(trace, way, files)
        said |= dict.fromkeys(f"{path}.{trace.source}: {one}" for one in told)
    remarks += said
    return TracedLink(up=found["up"], down=found["down"])


def _recorded(trace: yaml.TraceModel, way: Direction, files: Files) -> tuple[LinkTrace | MarkovModel, list[str]]:
    """A file's trace, or the model of it, and what is to be said: gaps that were cut out, a model that is unlike."""
    told: list[str] = []
    found: LinkTrace | MarkovModel
    if trace.file is not None:
        name = trace.file
        found, cut = files.link(name, way)
    else:
        assert trace.like is not None
        name = trace.like
        found, likeness, cut = files.like(name, way)
        if (off := _unlike(likeness)) is not None:
            told.append(f"{name}: what is drawn is not much like it: {off}")
    if cut:
        told.insert(0, f"{name}: {cut} {'gap' if cut == 1 else 'gaps'} without measurements cut out of it")
    return found, told


def _unlike(likeness: Likeness) -> str | None:
    """In what drawn traces differ most from their source, if it is much."""
    lag, forgotten = max(zip(LAGS, likeness.autocorrelation, strict=True), key=lambda one: abs(one[1]))
    off = {
        f"its mean is off by {likeness.mean:+.0%}": likeness.mean,
        f"rates' distributions are {likeness.distribution:.2f} apart (Kolmogorov-Smirnov)": likeness.distribution,
        f"autocorrelation after {lag} s is off by {forgotten:+.2f}": forgotten,
    }
    worst = max(off, key=lambda one: abs(off[one]))
    return worst if abs(off[worst]) > UNLIKE else None


def _wavering(model: yaml.WaveringModel) -> Wavering:
    return Wavering(
        mean_bits_per_s=model.mean_mbps * 1e6,
        variation=model.variation,
        memory_s=model.memory_s,
        outage=model.outage,
        outage_s=model.outage_s,
    )


def _active_w(node: yaml.MachineModel, number: int, files: Files, where: str) -> float:
    """As given, or as measured."""
    power = node.power
    if power is None:
        return node.active_w
    path = f"nodes[{number}].power"
    with _at(where, f"{path}.file"):
        model = files.power(power.file, power.tdp_w)
    with _at(where, path):
        watts = model.step(Setting(power.hardware, power.model, power.gpus, power.phase), power.size).watts
    if watts is None:
        refuse([(("nodes", number, "power"), "nobody measured watts there; give active_w in its place")], where)
    elif watts < node.idle_w:
        what = f"{watts:g} W, less than idle_w, {node.idle_w:g} W"
        refuse([(("nodes", number, "power"), what)], where)
    return watts or 0.0


def _machine(node: yaml.MachineModel, active_w: float) -> Machine:
    batch = node.batch
    return Machine(
        node=Node(
            name=node.name,
            tier=Tier[node.tier.upper()],
            backends=("onnxruntime",),
            memory_bytes=None if node.memory_mb is None else round(node.memory_mb * 1e6),
            slowdown=1 / node.speed,
            idle_w=node.idle_w,
            active_w=active_w,
            usd_per_hour=node.usd_per_hour,
        ),
        profiled_as=node.like,
        speed=node.speed,
        servers=node.servers,
        rules=BatchRules(
            max_batch=batch.max,
            preferred=tuple(batch.preferred),
            max_delay_s=batch.delay_ms / 1e3,
            queue_limit=node.queue_limit,
        ),
        at_m=None if node.at_m is None else (node.at_m[0], node.at_m[1]),
    )


def _wires(link: yaml.WireModel) -> Iterable[Wire]:
    one, other = link.between
    back_mbps = link.mbps if link.back_mbps is None else link.back_mbps
    for source, target, mbps in ((one, other, link.mbps), (other, one, back_mbps)):
        yield Wire(
            source=source,
            target=target,
            bits_per_s=mbps * 1e6,
            propagation_s=link.rtt_ms / 2e3,
            j_per_byte=link.j_per_mb / 1e6,
            usd_per_byte=link.usd_per_gb / 1e9,
        )


def _pipeline(model: yaml.PipelineModel, folder: Path) -> Pipeline:
    return Pipeline(
        name=model.name,
        model=None if model.model is None else folder / model.model,
        profile=None if model.profile is None else folder / model.profile,
        input_bytes=round((model.input_kb or 0) * 1e3),
        steps=tuple(
            Step(
                name=step.name,
                seconds={like: ms / 1e3 for like, ms in step.ms.items()},
                out_bytes=round(step.out_kb * 1e3),
                weights_bytes=round(step.weights_mb * 1e6),
            )
            for step in model.steps
        ),
        private=model.private,
        max_error=model.max_error,
        objective=model.objective,
        standby_bytes=round(model.standby_mb * 1e6),
        variation=model.variation,
        replicas=model.replicas,
    )


def _group(model: yaml.GroupModel, folder: Path) -> Group:
    moving, asking = model.moving, model.asking
    west, south, east, north = moving.area_m
    speeds = (0.0, 0.0) if moving.speeds_mps is None else (moving.speeds_mps[0], moving.speeds_mps[1])
    return Group(
        name=model.name,
        count=model.count,
        device=model.device,
        pipeline=model.pipeline,
        moving=Moving(
            kind=moving.kind,
            area=(west, south, east, north),
            speeds=speeds,
            rest_s=moving.rest_s,
            block_m=moving.block_m or 0.0,
            path=tuple((at_s, x, y) for at_s, x, y in moving.points),
            spacing_s=moving.spacing_s,
        ),
        asking=Asking(
            kind=asking.kind,
            per_s=asking.per_s or 0.0,
            on_s=asking.on_s or 0.0,
            off_s=asking.off_s or 0.0,
            swing=asking.swing,
            period_s=asking.period_s,
            peak_s=asking.peak_s,
            file=None if asking.file is None else folder / asking.file,
        ),
        deadline_s=model.deadline_ms / 1e3,
        budget_s=BUDGET_S if model.budget_ms is None else model.budget_ms / 1e3,
        priority=model.priority,
    )


def _changes(model: yaml.ChangeModel) -> Iterable[Change]:
    """A link changes both ways."""
    if model.link is not None:
        rate = 0.0 if model.is_ == "down" else None if model.mbps is None else model.mbps * 1e6
        delay_s = None if model.rtt_ms is None else model.rtt_ms / 2e3
        for source, target in (model.link, model.link[::-1]):
            wire, is_up = (source, target), model.is_ != "down"
            yield Change(at_s=model.at_s, wire=wire, bits_per_s=rate, propagation_s=delay_s, is_up=is_up)
    elif model.node is not None:
        yield Change(at_s=model.at_s, node=model.node, is_up=model.is_ == "up")
    else:
        yield Change(at_s=model.at_s, group=model.users, times=model.ask_times or 1.0)
