"""A scenario's YAML file and the values that it means. What is wrong is said in one line, with the path in the file.

Paths of models, profiles, traces and arrivals count from the file's own folder. Ready-made scenarios go by name.
"""

from collections.abc import Iterable
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
from simulations.radio.carrier import Carrier
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
    Policy,
    Scenario,
    Step,
    TracedLink,
    Wavering,
    Wire,
)
from simulations.scenario_check import check_names, class_faults, refuse
from simulations.traces.formats import read_link_trace

READY_MADE = Path(__file__).with_name("scenarios")
SENDS_DBM = {"UMi": 44.0, "UMa": 49.0}
BUDGET_S = 30.0


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
    cells = tuple(_cell(cell, n, model.radio, where, folder, remarks) for n, cell in enumerate(model.cells))
    pipelines = tuple(_pipeline(pipeline, folder) for pipeline in model.pipelines)
    _check_files(model, pipelines, where, folder)
    if model.policy.rule is not None:
        try:
            read_rule(model.policy.rule, folder)
        except SpecError as error:
            raise SpecError(f"{where}: policy.rule: {error}") from None
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
        machines=tuple(_machine(node) for node in model.nodes),
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
    classes = {}
    for number, pipeline in enumerate(pipelines):
        try:
            classes[pipeline.name] = {key.node_class for key in read_found(pipeline)[1].engines}
        except SpecError as error:
            raise SpecError(f"{where}: pipelines[{number}].model: {error}") from None
    refuse(class_faults(model, classes), where)
    for number, group in enumerate(model.users):
        if group.asking.file is not None:
            try:
                read_arrivals(folder / group.asking.file)
            except SimulationsError as error:
                raise SpecError(f"{where}: users[{number}].asking.file: {error}") from None


def _cell(
    cell: yaml.CellModel, number: int, radio: yaml.RadioModel, where: str, folder: Path, remarks: list[str]
) -> Cell:
    east_m, north_m = cell.at_m
    path = f"cells[{number}].{'band' if cell.trace is None else 'trace.file' if cell.trace.file else 'trace'}"
    try:
        if cell.trace is not None:
            traced = _traced(cell.trace, f"{path}: {cell.trace.file}", folder, remarks)
            return Cell(name=cell.name, at_m=(east_m, north_m), traced=traced)
        assert cell.band is not None
        band = cell.band
        carrier = Carrier(
            ghz=band.ghz, mhz=band.mhz, spacing_khz=band.spacing_khz, down_share=band.down_share,
            up_share=band.up_share,
        )  # fmt: skip
    except SimulationsError as error:
        raise SpecError(f"{where}: {path}: {error}") from None
    station = Station(
        name=cell.name,
        east_m=east_m,
        north_m=north_m,
        environment=ENVIRONMENTS[radio.surroundings],
        carrier=carrier,
        power_dbm=SENDS_DBM[radio.surroundings] if band.power_dbm is None else band.power_dbm,
        down_layers=band.layers.down,
        up_layers=band.layers.up,
    )
    return Cell(name=cell.name, at_m=(east_m, north_m), station=station)


def _traced(trace: yaml.TraceModel, named: str, folder: Path, remarks: list[str]) -> TracedLink:
    """Where nothing was measured for long, that time was cut out of a recorded trace: a remark counts it."""
    if trace.file is not None:
        up, down = (read_link_trace(folder / trace.file, way) for way in DIRECTIONS)
        if cut := max(up.cut, down.cut):
            remarks.append(f"{named}: {cut} {'gap' if cut == 1 else 'gaps'} without measurements cut out of it")
        return TracedLink(up=up.trace, down=down.trace)
    assert trace.up is not None and trace.down is not None
    return TracedLink(up=_wavering(trace.up), down=_wavering(trace.down))


def _wavering(model: yaml.WaveringModel) -> Wavering:
    return Wavering(
        mean_bits_per_s=model.mean_mbps * 1e6,
        variation=model.variation,
        memory_s=model.memory_s,
        outage=model.outage,
        outage_s=model.outage_s,
    )


def _machine(node: yaml.MachineModel) -> Machine:
    batch = node.batch
    return Machine(
        node=Node(
            name=node.name,
            tier=Tier[node.tier.upper()],
            backends=("onnxruntime",),
            memory_bytes=None if node.memory_mb is None else round(node.memory_mb * 1e6),
            slowdown=1 / node.speed,
            idle_w=node.idle_w,
            active_w=node.active_w,
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
