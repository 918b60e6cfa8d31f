"""Cells on nodes: what was measured once here, as each node pays for it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nodes.selecting.cells import FAILED, RAN, BatchRow, Cell, Measured, Speed
from nodes.selecting.energy import energy_of
from nodes.selecting.exchange import Told
from orchestrator.selecting.campaign import Findings
from orchestrator.selecting.cells import Cost, Figures, Row
from orchestrator.selecting.price import Price

TUNES = "trials"  # the option of an engine that tunes: how many schedules of a kernel it tries
UNTUNED = f"untuned: option {TUNES} is 0, so it runs what is on record from earlier tuning, else its stock kernels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node as far as choosing goes: its cells, how much slower than this machine it is to be, watts and price."""

    name: str
    cells: tuple[Cell, ...]
    cores: int
    active_w: float | None = None
    slowdown: float = 1.0
    price: Price = field(default_factory=Price)


def rows_of(
    places: Sequence[Place], found: Findings, refused: Mapping[Cell, Measured], engines: Mapping[str, Told]
) -> tuple[Row, ...]:
    """A row for each cell of each place: what ran first, by median latency; then what didn't, with its reason."""
    return ordered([_row(place, cell, found, refused, engines) for place in places for cell in place.cells])


def ordered(rows: Sequence[Row]) -> tuple[Row, ...]:
    """What ran first, by median latency."""
    ran = [row for row in rows if row.figures is not None]
    ran.sort(key=lambda row: row.figures.speed.p50_s if row.figures else 0.0)
    return (*ran, *(row for row in rows if row.figures is None))


def _row(
    place: Place, cell: Cell, found: Findings, refused: Mapping[Cell, Measured], engines: Mapping[str, Told]
) -> Row:
    one = refused[cell] if cell in refused else found.measured[cell]
    if one.state != RAN or one.speed is None or one.footprint is None:
        return Row(node=place.name, cell=cell, state=one.state, version=one.version, reason=one.reason)
    if cell in found.spoiled:
        return Row(node=place.name, cell=cell, state=FAILED, version=one.version, reason=found.spoiled[cell])
    speed = _slowed(one.speed, place.slowdown)
    factor, took = place.slowdown, one.footprint
    took = replace(took, build_s=took.build_s * factor, cpu_s=took.cpu_s * factor)
    energy_j, source = energy_of(
        rapl_j=took.rapl_j if factor == 1 else None,  # the slower machine's watts are the node's, not this one's
        cpu_s=took.cpu_s,
        active_w=place.active_w,
        cores=place.cores,
        on_cpu=not took.devices or took.devices[0] == "cpu",
    )
    cost = Cost(
        footprint=took,
        energy_j=energy_j,
        energy_source=source,
        usd_per_million=place.price.usd_per_million(speed.answers_per_s),
    )
    figures = Figures(speed=speed, accuracy=found.accuracies.get(cell), cost=cost)
    reason = "; ".join(words for words in (one.reason, _untuned(cell, engines)) if words)
    return Row(node=place.name, cell=cell, state=RAN, version=one.version, reason=reason, figures=figures)


def _slowed(speed: Speed, factor: float) -> Speed:
    """The same machine, so many times slower, as an emulated node is."""
    return replace(
        speed,
        first_s=speed.first_s * factor,
        cached_first_s=None if speed.cached_first_s is None else speed.cached_first_s * factor,
        p50_s=speed.p50_s * factor,
        p99_s=speed.p99_s * factor,
        batches=tuple(
            BatchRow(batch=row.batch, p50_s=row.p50_s * factor, answers_per_s=row.answers_per_s / factor)
            for row in speed.batches
        ),
    )


def _untuned(cell: Cell, engines: Mapping[str, Told]) -> str:
    """What to know of an engine that can tune, and was not asked to."""
    tunes = cell.backend in engines and TUNES in engines[cell.backend].options
    return UNTUNED if tunes and not dict(cell.options).get(TUNES) else ""
