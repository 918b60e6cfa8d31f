"""`isthmus select` without its command line: a model and what is wanted in, rows with a recommendation out."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nodes.variants.calibration import digest
from orchestrator.errors import SpecError
from orchestrator.model_file import ReadyModel, cache_folder, declared_inputs, prepare
from orchestrator.selecting.asking import Ask, ask
from orchestrator.selecting.campaign import REFERENCE_BACKEND, Campaign, Findings, Task
from orchestrator.selecting.cells import PLAIN, REFUSED, Cell, Measured, Row, row_to_json
from orchestrator.selecting.energy import read_uj
from orchestrator.selecting.engines import Wanted, ask_engines, cells_of, check_precisions
from orchestrator.selecting.exchange import Told, save_tensors
from orchestrator.selecting.forms import VARIANTS, forms_of
from orchestrator.selecting.ledger import Ledger, machine_label, usable_cores
from orchestrator.selecting.price import UTILISATION, YEARS, Price
from orchestrator.selecting.ranking import AXES, GOALS, Choice, choose, pareto
from orchestrator.selecting.rows import Place, rows_of
from orchestrator.selecting.samples import Samples, load_samples, samples_of
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.topology import Node, Tier, Topology

LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be compared, and what for. `nodes`: this machine stands for each of them; none: it is itself.

    Tuples that are empty mean all there is. Prices given here go before the nodes' own.
    """

    model: Path
    data: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] | None = None
    nodes: tuple[Node, ...] = ()
    backends: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    variants: tuple[str, ...] = VARIANTS
    threads: tuple[int, ...] = ()
    batches: tuple[int, ...] = (1, 2, 4, 8)
    goal: str = "latency"
    max_error: float = 0.01
    usd_per_hour: float | None = None
    purchase_usd: float | None = None
    years: float = YEARS
    utilisation: float = UTILISATION
    budget_s: float = 600.0
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows, those of them that no other beats on the `axes`, and the choice.

    `data` says what the samples were, `prices` what each node's dollars are of.
    """

    asked: Asked
    rows: tuple[Row, ...]
    front: tuple[Row, ...]
    choice: Choice
    findings: Findings
    data: str
    machine: str
    prices: tuple[tuple[str, str], ...] = ()

    @property
    def axes(self) -> tuple[str, ...]:
        """What the front is of."""
        return AXES[self.asked.goal]

    @property
    def reference_told(self) -> str:
        """What errors are against, said where it is not what it should be."""
        reference = self.findings.reference
        if reference is None:
            return "nothing gave an answer to compare with"
        instead = "" if reference.backend == REFERENCE_BACKEND else f", as {REFERENCE_BACKEND} did not run"
        return f"{reference.name}{instead}"


def compare(
    asked: Asked, *, clock: Callable[[], float], say: Callable[[str], None], ask_process: Ask = ask
) -> Comparison:
    """Measure what is not known yet and choose. SpecError, BadInput or InvalidModel, in one line, for bad input."""
    check(asked)
    begun_s = clock()
    ready, samples = _prepared(asked)
    engines = ask_engines(_backends(asked), ask_process)
    check_precisions(asked.precisions, engines)
    known = engines if REFERENCE_BACKEND in engines else engines | ask_engines([REFERENCE_BACKEND], ask_process)
    root = cache_folder() / "select" / ready.sha256[:16]
    forms, impossible = forms_of(ready.path, asked.variants, samples.calibration, asked.batches, root, say)
    places, refused = _places(asked, engines, tuple(forms), impossible)
    cells = tuple(dict.fromkeys(cell for place in places for cell in place.cells if cell not in refused))
    machine = machine_label()
    about = {"model": ready.sha256, "data": digest(samples.judged), "machine": machine}
    ledger = Ledger(root / "measured", **about, fresh=asked.fresh)
    with tempfile.TemporaryDirectory(prefix="isthmus-select-") as scratch:
        file = Path(scratch) / "samples.npz"
        save_tensors(file, samples.judged)
        task = Task(
            cells=cells,
            reference=None if known[REFERENCE_BACKEND].missing else _reference(cells),
            versions={name: told.version for name, told in known.items()},
            forms=forms,
            samples=file,
            budget_s=max(0.0, asked.budget_s - (clock() - begun_s)),
        )
        findings = Campaign(task, ledger, ask_process, clock=clock, say=say).run()
    rows = rows_of(places, findings, refused, engines)
    choice = choose(rows, goal=asked.goal, max_error=asked.max_error, noise=findings.noise)
    front = pareto(rows, AXES[asked.goal])
    return Comparison(
        asked=asked,
        rows=rows,
        front=front,
        choice=choice,
        findings=findings,
        data=samples.told,
        machine=machine,
        prices=tuple((place.name, place.price.told()) for place in places),
    )


def check(asked: Asked) -> None:
    """SpecError for what can be seen to be wrong before anything is read or measured."""
    if not asked.model.is_file():
        raise SpecError(f"no file {asked.model}; give an ONNX model")
    if asked.goal not in GOALS:
        raise SpecError(f"no goal {asked.goal!r}; there are {', '.join(GOALS)}")
    if not 0 <= asked.max_error <= 1:
        raise SpecError(f"--max-error {asked.max_error:g}: should be from 0 to 1, a share of the largest output")
    if asked.usd_per_hour is not None and asked.purchase_usd is not None:
        raise SpecError("--usd-per-hour and --purchase-usd are both given; keep one")
    for node in asked.nodes:
        if node.address is not None and node.address.rpartition(":")[0] not in LOCAL:
            raise SpecError(
                f"node {node.name} is at {node.address}, and select measures this machine only; leave it out of "
                "--nodes, or run select there"
            )
    _check_goal(asked)


def _check_goal(asked: Asked) -> None:
    given = asked.usd_per_hour is not None or asked.purchase_usd is not None
    priced = given or any(node.usd_per_hour is not None or node.purchase_usd is not None for node in asked.nodes)
    if asked.goal == "cost" and not priced:
        raise SpecError("--goal cost needs a price: give --usd-per-hour, --purchase-usd, or nodes that have one")
    if asked.goal == "energy" and not read_uj() and not any(node.active_w is not None for node in asked.nodes):
        raise SpecError(
            "--goal energy: this machine has no RAPL counters that can be read; give nodes with active_w by --topology"
        )


def _prepared(asked: Asked) -> tuple[ReadyModel, Samples]:
    """The normalised model, and samples of every input; BadInput for data that does not fit."""
    shapes, declared = asked.shapes or {}, declared_inputs(asked.model)
    names = [spec.name for spec in declared]
    if unknown := [name for name in shapes if name not in names]:
        raise SpecError(f"{asked.model} has no input {unknown[0]!r}; it has {', '.join(names)}")
    is_open = any(None in spec.shape and spec.name not in shapes for spec in declared)
    if asked.data is not None and is_open:
        load_samples(asked.data, declared)  # what is wrong with it is told better before the model is normalised by it
    fixing = asked.data if is_open else None
    inputs = tuple(InputSpec(name=name, at="here", shape=shapes.get(name), samples=fixing) for name in names)
    here = Topology((Node(name="here", tier=Tier.DEVICE, backends=(REFERENCE_BACKEND,)),))
    ready = prepare(
        DeploymentSpec(name=asked.model.stem, model=asked.model, topology=here, source="here", inputs=inputs)
    )
    return ready, samples_of(asked.data, ready.inputs)


def _backends(asked: Asked) -> tuple[str, ...]:
    """Those asked for, else all that the nodes offer; empty for all there is."""
    return asked.backends or tuple(dict.fromkeys(name for node in asked.nodes for name in node.backends))


def _places(
    asked: Asked, engines: Mapping[str, Told], variants: tuple[str, ...], impossible: Mapping[str, str]
) -> tuple[tuple[Place, ...], dict[Cell, Measured]]:
    """The nodes with their cells, and the cells that needn't be measured, with the reason."""
    cores = usable_cores()
    own = Node(name="here", tier=Tier.DEVICE, backends=tuple(engines))
    places, refused = (
        [],
        {
            Cell(backend="any engine", variant=name): Measured(state=REFUSED, reason=why)
            for name, why in impossible.items()
        },
    )
    unmade = tuple(refused)
    for node in asked.nodes or (own,):
        named = asked.backends or node.backends
        wanted = Wanted(
            precisions=asked.precisions,
            threads=asked.threads or ((node.threads,) if asked.nodes else tuple(sorted({1, cores}))),
            variants=variants,
            options={name: node.options_of(name) for name in named},
        )
        cells, not_run = cells_of(wanted, {name: told for name, told in engines.items() if name in named})
        refused.update(not_run)
        places.append(
            Place(
                name=node.name,
                cells=(*cells, *not_run, *unmade),
                cores=cores,
                active_w=node.active_w,
                slowdown=node.slowdown,
                price=_price(asked, node),
            )
        )
    return tuple(places), refused


def _price(asked: Asked, node: Node) -> Price:
    price = Price(
        usd_per_hour=node.usd_per_hour,
        purchase_usd=node.purchase_usd,
        years=asked.years,
        utilisation=asked.utilisation,
    )
    if asked.usd_per_hour is not None or asked.purchase_usd is not None:
        return replace(price, usd_per_hour=asked.usd_per_hour, purchase_usd=asked.purchase_usd)
    return price


def _reference(cells: Sequence[Cell]) -> Cell:
    """What answers and times are held against: ONNX Runtime in float32, even where it is not among the cells."""
    among = [one for one in cells if one.backend == REFERENCE_BACKEND and one.variant == PLAIN]
    plain = [one for one in among if one.precision == "float32" and not one.options]
    threads = cells[0].threads if cells else 1
    return plain[0] if plain else Cell(backend=REFERENCE_BACKEND, threads=threads)


def comparison_to_json(found: Comparison) -> dict[str, Any]:
    """The comparison as plain values; a figure that isn't known is null."""
    front, chosen = set(map(id, found.front)), found.choice.row
    return {
        "model": str(found.asked.model),
        "machine": found.machine,
        "data": found.data,
        "goal": found.asked.goal,
        "max_error": found.asked.max_error,
        "axes": list(found.axes),
        "reference": {
            "cell": None if found.findings.reference is None else found.reference_told,
            "p50_s": list(found.findings.again_s),
            "spread": found.findings.noise,
        },
        "prices": dict(found.prices),
        "resumed": found.findings.resumed,
        "rows": [{**row_to_json(row), "pareto": id(row) in front, "recommended": row is chosen} for row in found.rows],
        "recommendation": None
        if chosen is None
        else {"node": chosen.node, "cell": chosen.cell.name, **_setting(chosen.cell)},
        "reason": found.choice.reason,
    }


def _setting(cell: Cell) -> dict[str, Any]:
    return {
        "backend": cell.backend,
        "precision": cell.precision,
        "threads": cell.threads,
        "variant": cell.variant,
        "options": dict(cell.options),
    }
