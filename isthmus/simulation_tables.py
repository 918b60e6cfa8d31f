"""What a simulation came to, as tables and lines for a terminal. Returns renderables only; draws and runs nothing.

± is half of the 95 % interval over replications; a cell ends in "(3 of 5)" where only those have the figure.
"""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from isthmus.comparison_tables import _whole
from isthmus.simulation_units import UNKNOWN, told
from simulations.comparing import Difference
from simulations.results import Note, Results
from simulations.statistics import Estimate

Estimates = Mapping[str, Estimate]
LATENCIES = {
    "latency_mean_s": "latency, mean", "latency_p50_s": "p50", "latency_p95_s": "p95", "latency_p99_s": "p99",
}  # fmt: skip
HOPS = {
    "radio_s": "of the mean: radio", "queue_s": "queues", "compute_s": "compute", "transfer_s": "transfer",
    "other_s": "other",
}  # fmt: skip
SERVED = {
    "answered_per_s": "throughput", "missed_share": "missed its deadline", "failed_share": "failed",
    "open_share": "under way at the end",
    "sent_bytes": "sent a request",
}  # fmt: skip
SPENT = {
    "ue_j": "energy of users' devices", "mec_j": "of the edge", "cloud_j": "of the cloud", "wires_j": "of links",
    "energy_j": "of all", "machines_usd": "cost of machines", "wires_usd": "of links", "cost_usd": "of all",
    "refused": "refused by full queues", "switches": "switches", "handovers": "handovers",
}  # fmt: skip
SWEPT = {
    "latency_mean_s": "mean", "latency_p95_s": "p95", "latency_p99_s": "p99", "missed_share": "missed",
    "failed_share": "failed", "energy_j": "energy", "cost_usd": "cost", "switches": "switches",
}  # fmt: skip
VERDICTS = {"real": "real", "not shown": "no difference shown"}
BUSIEST, DECISIONS, KEPT, ABREAST = 12, 6, 2, 4


def overload_lines(results: Results) -> Iterator[str]:
    """What is asked for more than it can do, a line each, as the first replication that has it tells."""
    found: dict[str, tuple[str, int]] = {}
    for outcome in results.outcomes:
        for line in outcome.overloads:
            what = line.partition(": ρ")[0]
            first, count = found.get(what, (line, 0))
            found[what] = first, count + 1
    for line, count in found.values():
        some = "" if count == len(results.outcomes) else f" (in {count} of {len(results.outcomes)} replications)"
        yield f"overloaded: {line}{some}"


def head_line(results: Results) -> str:
    """What was simulated, and what ± means."""
    scenario, many = results.scenario, len(results.outcomes)
    requests = round(sum(outcome.figures.get("asked", 0.0) for outcome in results.outcomes))
    warmup = f", the first {scenario.warmup_s:g} s not counted" if scenario.warmup_s else ""
    counted = f"{requests:,} requests{' in all' if many > 1 else ''}"
    bounds = (
        "one replication, so without intervals; --replications 5 gives them"
        if many == 1
        else f"{many} replications; ± is half of the 95 % interval"
    )
    return f"{scenario.name}: {scenario.duration_s:g} s{warmup}, {counted}, seed {scenario.seed}; {bounds}"


def served_tables(results: Results, found: Estimates) -> Iterator[Table]:
    """Latency with its parts, throughput, deadlines and failures: of all, and of each group if there are several.

    ABREAST columns a table, so that a terminal holds them.
    """
    groups = [group.name for group in results.scenario.groups]
    columns = ["", *(f"{name}." for name in groups)] if len(groups) > 1 else [""]
    for begin in range(0, len(columns), ABREAST):
        shown = columns[begin : begin + ABREAST]
        table = _table(["", *(escape(name.rstrip(".")) or "all" for name in shown)])
        for key, label in (LATENCIES | HOPS | SERVED).items():
            table.add_row(label, *(_cell(found, f"{column}{key}") for column in shown))
        yield _whole(table)


def busy_table(found: Estimates) -> tuple[Table, str]:
    """The busiest machines, cells and links, and a line on those left out ("" for none)."""
    loads = {
        key: one for key, one in found.items() if key.endswith((".utilisation", ".up_load", ".down_load", ".link_load"))
    }  # fmt: skip
    order = sorted(loads, key=lambda key: -loads[key].mean)
    table = _table(["busy", "share of the time"])
    for key in order[:BUSIEST]:
        name, _, what = key.rpartition(".")
        kinds = {"up_load": f"cell {name}, up", "down_load": f"cell {name}, down", "link_load": f"link {name}"}
        way = kinds.get(what, f"node {name}")
        table.add_row(escape(way), told(key, loads[key]))
    rest = order[BUSIEST:]
    if not rest:
        return _whole(table), ""
    return _whole(table), f"  and {len(rest)} more, none above {told(rest[0], loads[rest[0]])}"


def spent_table(found: Estimates) -> Table:
    """Energy by place, cost, and how often plans and cells changed."""
    table = _table(["in all", ""])
    for key, label in SPENT.items():
        if key in found:
            table.add_row(label, told(key, found[key]))
    return _whole(table)


def decisions_table(notes: Sequence[Note]) -> Table:
    """The last that did something, and the last few that left all as it was, with why."""
    done = [note for note in notes if note.what != "keep"][-DECISIONS:]
    kept = [note for note in notes if note.what == "keep"][-KEPT:]
    table = Table("at", "decided", "of", "why", box=None, pad_edge=True)
    for note in sorted([*done, *kept], key=lambda each: each.at_s):
        of = note.deployment if note.epoch is None else f"{note.deployment}/{note.epoch}"
        table.add_row(f"{note.at_s:.1f} s", note.what, Text(of), Text(note.why))
    return table


def simulation_parts(results: Results, found: Estimates) -> Iterator[RenderableType]:
    """All of a scenario, overloads first."""
    yield from (Text(line, style="bold red") for line in overload_lines(results))
    yield from (Text(remark, style="dim") for remark in results.scenario.remarks)
    yield Text(head_line(results))
    yield from served_tables(results, found)
    busy, rest = busy_table(found)
    yield busy
    if rest:
        yield Text(rest, style="dim")
    yield spent_table(found)
    yield decisions_table(results.outcomes[0].notes)


def comparison_parts(first: Results, second: Results, found: Sequence[Difference]) -> Iterator[RenderableType]:
    """Two scenarios side by side, and which differences are real."""
    names = _apart(first.scenario.name, second.scenario.name)
    for name, one in zip(names, (first, second), strict=True):
        yield from (Text(f"{name}: {line}", style="bold red") for line in overload_lines(one))
        yield Text(head_line(one))
    table = _table(["", *map(escape, names), "difference", ""])
    known = {each.figure: each for each in found}
    for key, label in (LATENCIES | HOPS | SERVED | SPENT).items():
        if key in known:
            each = known[key]
            cells = told(key, each.first), told(key, each.second), told(key, each.difference, sign=True)
            table.add_row(
                label, *cells, VERDICTS.get(each.verdict or "", ""), style="bold" if each.verdict == "real" else ""
            )
    yield _whole(table)
    yield Text(
        "  differences are between replications with the same luck; real: not by chance, all main figures together "
        "at 95 %",
        style="dim",
    )


def sweep_table(points: Sequence[tuple[str, Results, Estimates]]) -> Table:
    """A row for each scenario of a grid."""
    table = _table(["", *SWEPT.values()])
    for label, results, found in points:
        mark = " (overloaded)" if any(True for _ in overload_lines(results)) else ""
        table.add_row(escape(label) + mark, *(_cell(found, key) for key in SWEPT))
    return _whole(table)


def list_table(ready_made: Mapping[str, str]) -> Table:
    """Ready-made scenarios by name, with what each is about."""
    table = Table("scenario", "about", box=None, pad_edge=True)
    for name, about in ready_made.items():
        table.add_row(Text(name), Text(" ".join(about.split())))
    return table


def _apart(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def _cell(found: Estimates, key: str) -> str:
    return told(key, found[key]) if key in found else UNKNOWN


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=True)
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table
