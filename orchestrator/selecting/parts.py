"""One machine's part of a comparison: its engines, its cells, what was measured of them, the rows of its nodes.

Which machine that is only `Machine.ask` knows: this one, or a node of a cluster through its worker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nodes.selecting.asking import Ask
from nodes.selecting.cells import PLAIN, REFUSED, Cell, Measured
from nodes.selecting.exchange import Told
from nodes.selecting.machine import machine_label, usable_cores
from orchestrator.selecting.asked import Asked
from orchestrator.selecting.campaign import REFERENCE_BACKEND, Campaign, Findings, Standard, Task
from orchestrator.selecting.cells import Row
from orchestrator.selecting.engines import Wanted, ask_engines, cells_of
from orchestrator.selecting.forms import Form
from orchestrator.selecting.ledger import Ledger
from orchestrator.selecting.price import Price
from orchestrator.selecting.rows import Place, rows_of
from partitioner.topology import Node, Tier

HERE = "here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where cells run. `nodes`: those of a topology that it stands for, itself if there are none."""

    name: str
    ask: Ask
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A machine and what its engines told: those asked for, and the reference's, which may not be among them."""

    machine: Machine
    engines: Mapping[str, Told]
    known: Mapping[str, Told]

    @property
    def has_reference(self) -> bool:
        """Whether the engine that errors are held against runs there."""
        return not self.known[REFERENCE_BACKEND].missing

    @property
    def label(self) -> str:
        """The machine as far as figures depend on it; a node's figures are its own, though another be like it."""
        label = next((one.machine for one in self.known.values() if one.machine), machine_label())
        return label if self.machine.name == HERE else f"{self.machine.name}: {label}"

    @property
    def cores(self) -> int:
        """Cores that engines may use there."""
        return next((one.cores for one in self.known.values() if one.cores), usable_cores())


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every machine measures: forms by variant with why others can't be made, the samples' file, their labels."""

    forms: Mapping[str, Form]
    impossible: Mapping[str, str]
    samples: Path
    about: Mapping[str, str]  # of the ledger: model and data
    folder: Path  # the ledger's
    labels: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one machine gave."""

    met: Met
    rows: tuple[Row, ...]
    findings: Findings
    prices: tuple[tuple[str, str], ...]


def meet(machine: Machine, asked: Asked) -> Met:
    """Ask the machine's engines. SpecError for a backend that there isn't."""
    offered = tuple(dict.fromkeys(name for node in machine.nodes for name in node.backends))
    engines = ask_engines(asked.backends or offered, machine.ask)
    known = engines if REFERENCE_BACKEND in engines else engines | ask_engines([REFERENCE_BACKEND], machine.ask)
    return Met(machine=machine, engines=engines, known=known)


def measure_part(
    met: Met,
    asked: Asked,
    common: Common,
    *,
    budget_s: float,
    standard: Standard | None,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> Part:
    """Measure on one machine what is not known yet; `standard` is what another machine's reference answered."""
    places, refused = _places(asked, met, tuple(common.forms), common.impossible)
    cells = tuple(dict.fromkeys(cell for place in places for cell in place.cells if cell not in refused))
    ledger = Ledger(common.folder, **common.about, machine=met.label, fresh=asked.fresh)
    task = Task(
        cells=cells,
        reference=_reference(cells) if met.has_reference else None,
        versions={name: told.version for name, told in met.known.items()},
        forms=common.forms,
        samples=common.samples,
        budget_s=budget_s,
        labels=common.labels,
        standard=standard,
        node="" if met.machine.name == HERE else met.machine.name,
    )
    found = Campaign(task, ledger, met.machine.ask, clock=clock, say=say).run()
    return Part(
        met=met,
        rows=rows_of(places, found, refused, met.engines),
        findings=found,
        prices=tuple((place.name, place.price.told()) for place in places),
    )


def _places(
    asked: Asked, met: Met, variants: tuple[str, ...], impossible: Mapping[str, str]
) -> tuple[tuple[Place, ...], dict[Cell, Measured]]:
    """The nodes with their cells, and the cells that needn't be measured, with the reason."""
    engines, nodes = met.engines, met.machine.nodes
    own = Node(name=HERE, tier=Tier.DEVICE, backends=tuple(engines))
    places: list[Place] = []
    refused = {
        Cell(backend="any engine", variant=name): Measured(state=REFUSED, reason=why)
        for name, why in impossible.items()
    }
    unmade = tuple(refused)
    for node in nodes or (own,):
        named = asked.backends or node.backends
        wanted = Wanted(
            precisions=asked.precisions,
            threads=asked.threads or ((node.threads,) if nodes else tuple(sorted({1, met.cores}))),
            variants=variants,
            options={name: node.options_of(name) for name in named},
        )
        cells, not_run = cells_of(wanted, {name: told for name, told in engines.items() if name in named})
        refused.update(not_run)
        places.append(
            Place(
                name=node.name,
                cells=(*cells, *not_run, *unmade),
                cores=met.cores,
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
