"""A comparison as tables for a terminal: how fast and how right, then what it takes. Returns renderables only."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from isthmus.plot import units
from nodes.selecting.cells import LEFT_OUT, Footprint, Speed
from orchestrator.selecting.cells import Row
from orchestrator.selecting.comparison import Comparison
from orchestrator.selecting.ranking import MOST_NOISE

CHOSEN, FRONT = "▶", "•"
UNKNOWN = "–"


def speed_table(found: Comparison) -> Table:
    """Speed, error, and what a request costs; the chosen row and those of the Pareto set marked."""
    several = len({row.node for row in found.rows}) > 1
    joules = any(row.figures is not None and row.figures.cost.energy_j is not None for row in found.rows)
    dollars = any(row.figures is not None and row.figures.cost.usd_per_million is not None for row in found.rows)
    table = _table(["", "engine", "first", "p50", "p99", "best /s", "error", "SQNR", "labels", "memory"])
    for name in _task_figures(found):
        table.add_column(name, justify="right", no_wrap=True)
    if joules:
        table.add_column("energy", justify="right", no_wrap=True)
    if dollars:
        table.add_column("$/million", justify="right", no_wrap=True)
    for row in found.rows:
        if row.figures is None:
            continue
        cells = [_mark(row, found), _named(row, several=several), *_speed(row), *_accuracy(row)]
        cells.append(units.nbytes(row.figures.cost.footprint.memory_bytes))
        cells += [_share(row, name) for name in _task_figures(found)]
        cells += [_energy(row)] if joules else []
        cells += [_dollars(row)] if dollars else []
        table.add_row(*cells, style="bold" if row is found.choice.row else "")
    return _whole(table)


def takes_table(found: Comparison) -> Table:
    """What each row takes to build, keep and install, its batch curve, and why those that have no figures have none."""
    several = len({row.node for row in found.rows}) > 1
    table = _table(["", "engine", "version", "build", "artifact", "installed", "answers/s by batch", "span kept"])
    for row in found.rows:
        if row.figures is None:
            continue
        took = row.figures.cost.footprint
        table.add_row(
            _mark(row, found),
            _named(row, several=several),
            row.version,
            _build(row.figures.speed, took),
            units.nbytes(took.artifact_bytes),
            UNKNOWN if took.install_bytes is None else units.nbytes(took.install_bytes),
            _curve(row),
            _kept(row),
        )
    return _whole(table)


def notes(found: Comparison) -> Iterator[str]:
    """The recommendation with its reason, and what to know of the figures; a line each."""
    several = len({row.node for row in found.rows}) > 1
    chosen = found.choice.row
    if chosen is not None:
        yield f"  {CHOSEN} take {_named(chosen, several=several)}: {found.choice.reason}"
    yield f"  {FRONT} no other is as good or better in all of {_axes(found.axes)}"
    yield f"  errors are shares of the largest output, against {found.reference_told}; samples: {found.data}"
    if found.asked.data is None:
        yield "  random samples tell errors of arithmetic; for labels and the range of int8 give real ones by --data"
    if found.labels:
        yield f"  top-1 and top-5 are of {found.labels} rows of scores, by {found.asked.labels}"
    for name, one in found.findings.items():
        times, where = one.again_s, f"{name}: " if len(found.findings) > 1 else ""
        if len(times) > 1:
            told = f"{units.seconds(min(times))} to {units.seconds(max(times))}"
            yield f"  {where}the reference, {len(times)} times from start to end: {told}, a spread of {one.noise:.0%}"
    if any(one.noise > MOST_NOISE for one in found.findings.values()):
        yield "  the machine was busy: differences below that may be none; measure anew with --fresh when it rests"
    yield from (f"  dollars of {node}: {price}" for node, price in found.prices if price)
    if any(row.figures is not None and row.figures.cost.energy_source == "estimated" for row in found.rows):
        yield "  ~ energy is estimated: processor seconds times the node's active_w over its cores"
    if found.resumed:
        yield f"  {found.resumed} cells are known from before; --fresh measures them anew"
    yield from dict.fromkeys(_left_out(row, found.rows) for row in found.rows if row.state == LEFT_OUT)
    rest = [row for row in found.rows if row.reason and row.state != LEFT_OUT]
    yield from dict.fromkeys(_remark(row, several=several) for row in rest)
    yield from dict.fromkeys(_needs(found.rows))


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=True)
    for head in heads:
        right = head not in ("", "engine", "version", "answers/s by batch")
        table.add_column(head, justify="right" if right else "left", no_wrap=True)
    return table


def _whole(table: Table) -> Table:
    """As wide as its cells are: a pipe has no width, and a figure cut in half is none."""
    widths = (
        max(Text.from_markup(str(cell)).cell_len for cell in (column.header, *column.cells)) for column in table.columns
    )
    table.width = sum(width + 2 for width in widths)
    return table


def _mark(row: Row, found: Comparison) -> str:
    if row is found.choice.row:
        return CHOSEN
    return FRONT if any(row is one for one in found.front) else ""


def _named(row: Row, *, several: bool) -> str:
    return f"{row.node}: {row.cell.name}" if several else row.cell.name


def _speed(row: Row) -> list[str]:
    if row.figures is None:
        return [UNKNOWN] * 4
    speed = row.figures.speed
    return [
        *(units.seconds(one) for one in (speed.first_s, speed.p50_s, speed.p99_s)),
        units.digits(speed.answers_per_s),
    ]


def _accuracy(row: Row) -> list[str]:
    found = None if row.figures is None else row.figures.accuracy
    if found is None:
        return [UNKNOWN] * 3
    ratio = "exact" if found.sqnr_db is None else f"{found.sqnr_db:.0f} dB"
    labels = UNKNOWN if found.label_agreement is None else f"{found.label_agreement:.1%}"
    return [f"{found.max_error:.1e}" if found.max_error else "0", ratio, labels]


def _energy(row: Row) -> str:
    cost = None if row.figures is None else row.figures.cost
    if cost is None or cost.energy_j is None:
        return UNKNOWN
    return f"{'~' if cost.energy_source == 'estimated' else ''}{units.digits(cost.energy_j)} J"


def _dollars(row: Row) -> str:
    dollars = None if row.figures is None else row.figures.cost.usd_per_million
    return UNKNOWN if dollars is None else f"{dollars:.3g}"


def _curve(row: Row) -> str:
    if row.figures is None:
        return UNKNOWN
    speed = row.figures.speed
    rows = [(1, 1 / speed.p50_s), *((one.batch, one.answers_per_s) for one in speed.batches)]
    return " ".join(f"{batch}:{units.digits(rate)}" for batch, rate in rows)


def _build(speed: Speed, took: Footprint) -> str:
    """How long, and how long a start takes once it is done."""
    again = "" if speed.cached_first_s is None else f", start {units.seconds(speed.cached_first_s)}"
    return f"{units.seconds(took.build_s)}{' cached' if took.cached else ''}{again}"


def _kept(row: Row) -> str:
    """The output whose span shrank or grew the most."""
    found = None if row.figures is None else row.figures.accuracy
    if found is None or not found.ranges:
        return UNKNOWN
    return f"{max((one.kept for one in found.ranges), key=lambda kept: abs(kept - 1)):.1%}"


def _remark(row: Row, *, several: bool) -> str:
    return f"  {_named(row, several=several)}: {'' if row.figures else f'{row.state}: '}{row.reason}"


def _left_out(row: Row, rows: Sequence[Row]) -> str:
    """One line for all the cells of a node that were left out for the same reason."""
    count = sum((one.node, one.state, one.reason) == (row.node, LEFT_OUT, row.reason) for one in rows)
    return f"  {row.node}: {count} {'cell' if count == 1 else 'cells'} left out: {row.reason}"


def _task_figures(found: Comparison) -> list[str]:
    """Columns of what was held against labels: those that any row has a figure for."""
    return [name for name in ("top-1", "top-5") if any(_share(row, name) != UNKNOWN for row in found.rows)]


def _share(row: Row, name: str) -> str:
    accuracy = None if row.figures is None else row.figures.accuracy
    share = None if accuracy is None else {"top-1": accuracy.top1, "top-5": accuracy.top5}[name]
    return UNKNOWN if share is None else f"{share:.1%}"


def _needs(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        took = None if row.figures is None else row.figures.cost.footprint
        if took is not None and took.needs:
            yield f"  {row.cell.backend} needs {took.needs} ({', '.join(took.distributions)})"
        if row.figures is not None and row.figures.speed.batch_note:
            yield f"  {row.cell.backend}: {row.figures.speed.batch_note}"


def _axes(axes: Sequence[str]) -> str:
    words = {
        "p50_s": "latency",
        "s_per_answer": "answers a second",
        "error": "error",
        "memory_bytes": "memory",
        "energy_j": "energy",
        "usd_per_million": "dollars",
    }
    return ", ".join(words[axis] for axis in axes)
