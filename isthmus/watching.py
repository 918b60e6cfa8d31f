"""One look of `isthmus status --watch`, as people see it: the status, who sends what, and the last decisions.

Takes what a status holds and shows what of it is there; a controller of another version may tell less.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isthmus.render import deployments, faults, links_table, workers_table

DECISIONS = 8


def look(status: Mapping[str, Any], at_s: float, *, fault: str | None = None) -> RenderableType:
    """The status as it was at `at_s` (seconds since 1970). `fault`: why it is not of now."""
    stale = [] if fault is None else [Text(f"not of now: {fault}", style="bold red")]
    return Group(
        *stale,
        *faults(status),
        *deployments(status),
        links_table(status["links"]),
        *_traffic(status),
        _decisions(status, at_s),
        workers_table(status),
    )


def _traffic(status: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A line for each router and deployment that tells its figures; else which routers there are."""
    told = {**(status.get("traffic") or {})}
    told |= {name: facts["traffic"] for name, facts in status["deployments"].items() if facts.get("traffic")}
    for name, figures in told.items():
        yield Text(f"  {name}: {_figures(figures)}")
    routers = ", ".join(map(str, status.get("routers", ())))
    yield Text(f"  routers: {routers or 'none'}", style="dim")


def _figures(figures: object) -> str:
    if not isinstance(figures, Mapping):
        return str(figures)
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
    )


def _decisions(status: Mapping[str, Any], at_s: float) -> Table:
    """The last ones, newest first."""
    table = Table("ago", "decided", "of", "why", box=None, pad_edge=True)
    for entry in list(status.get("history", ()))[: -DECISIONS - 1 : -1]:
        of = entry["deployment"] if entry["epoch"] is None else f"{entry['deployment']}/{entry['epoch']}"
        table.add_row(_ago(at_s - entry["at_s"]), entry["what"], of, Text(entry["why"]))
    return table


def _ago(seconds: float) -> str:
    """Rounded down, and never negative: two clocks may be a little apart."""
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
