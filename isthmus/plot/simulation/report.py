"""A simulation as one HTML page: overloads, figures with intervals, plots, decisions. No script.

What is shown is what was computed, and nothing comes from elsewhere; the page simulates nothing and asks no network.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from isthmus.plot.simulation import tables
from isthmus.plot.simulation.figures import Given, Swept, known, points_of
from isthmus.plot.simulation.happenings import clock
from isthmus.plot.simulation.pictures import pictures
from isthmus.plot.svg import FAINT, FONTS, INK, PAPER, RULE
from isthmus.simulation_tables import overload_lines
from simulations.comparing import Difference
from simulations.results import Note, Results

MOST_NOTES = 200
STYLE = f"""
body {{ margin: 0 auto; max-width: 1048px; padding: 24px; background: {PAPER}; color: {INK};
       font: 15px/1.5 {FONTS}; }}
h1 {{ font-size: 26px; margin: 0 0 4px; }}
h2 {{ font-size: 19px; margin: 36px 0 8px; }}
p {{ margin: 6px 0; }}
.faint {{ color: {FAINT}; }}
.overload {{ border-left: 6px solid #d55e00; background: #fdf0e6; padding: 10px 14px; margin: 16px 0; }}
.overload ul {{ margin: 4px 0 0; padding-left: 20px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; }}
th, td {{ padding: 3px 14px 3px 0; text-align: right; white-space: nowrap; vertical-align: top; }}
th:first-child, td:first-child {{ text-align: left; }}
thead th {{ border-bottom: 1.5px solid {RULE}; color: {FAINT}; font-weight: normal; }}
tbody tr:hover {{ background: #f1f4f7; }}
.words td {{ text-align: left; white-space: normal; }}
.words td:nth-child(-n+4) {{ white-space: nowrap; }}
.words th {{ text-align: left; }}
.real td {{ font-weight: bold; }}
svg {{ max-width: 100%; height: auto; display: block; border-top: 1px solid {RULE}; margin: 18px 0; }}
"""


def html_page(
    results: Results,
    *,
    figures: Given | None = None,
    sweep: Swept | None = None,
    compared: Sequence[Difference] | None = None,
) -> str:
    """The whole document (write it as UTF-8). `figures` are by default means over replications with 95 % intervals.

    With `sweep`, its scenarios side by side and their Pareto fronts; with `compared`, each figure's difference.
    """
    found = known(results, figures)
    scenario = results.scenario
    body = [
        f"<h1>{escape(scenario.name)}</h1>",
        f"<p>{escape(scenario.about)}</p>" if scenario.about else "",
        f'<p class="faint">{escape(_simulated(results))}</p>',
        *_overloads(results),
        *(_section("Compared", tables.compared_rows(compared), marked="real") if compared else ()),
        *(_section("Scenarios of the sweep", tables.swept_rows(points_of(sweep))) if sweep else ()),
        *_section(
            "Figures" + (f" of {scenario.name}" if compared or sweep else ""), tables.figure_rows(results, found)
        ),
        *_section("Machines and cells", tables.place_rows(results, found)),
        *_section("In all", tables.whole_rows(found)),
        "<h2>Plots</h2>",
        *(inlined(svg, name) for name, svg in pictures(results, figures=found, sweep=sweep).items()),
        *_decisions(results),
    ]
    head = f'<meta charset="utf-8"><title>{escape(scenario.name)}</title><style>{STYLE}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _simulated(results: Results) -> str:
    scenario, many = results.scenario, len(results.outcomes)
    requests = sum(outcome.requests for outcome in results.outcomes)
    told = f"{clock(scenario.duration_s)} simulated, the first {clock(scenario.warmup_s)} not counted"
    told = told if scenario.warmup_s else told.partition(",")[0]
    interval = "± is half of the 95 % interval" if many > 1 else "one replication, so without intervals"
    times = "replications" if many != 1 else "replication"
    return f"{told} · {many} {times}, {requests:,} requests · seed {scenario.seed} · {interval}"


def _overloads(results: Results) -> Iterator[str]:
    lines = list(overload_lines(results))
    if lines:
        listed = "".join(f"<li>{escape(line.removeprefix('overloaded: '))}</li>" for line in lines)
        yield f'<div class="overload"><strong>Overloaded</strong><ul>{listed}</ul></div>'


def _section(name: str, rows: tables.Table, *, marked: str = "") -> Iterator[str]:
    """A heading and its table; nothing at all for no rows. Rows whose last cell is `marked` have it as their class."""
    if not rows.rows:
        return
    yield f"<h2>{escape(name)}</h2>"
    if rows.told:
        yield f'<p class="faint">{escape(rows.told)}</p>'
    yield from table(rows.head, rows.rows, marked=marked)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "figures", marked: str = ""
) -> Iterator[str]:
    """A table that scrolls by itself where it is wider than the page. Cells are plain text."""
    yield f'<div class="wide"><table class="{kind}">'
    yield f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead><tbody>"
    for row in rows:
        its = marked if row[-1] == marked else "plain"
        yield f'<tr class="{its}">{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>'
    yield "</tbody></table></div>"


def inlined(svg: str, name: str) -> str:
    """A picture as a part of the page: its ids, which are the same in all pictures, made its own."""
    for one in ("title", "desc"):
        svg = svg.replace(f' id="{one}"', f' id="{one}-{name}"', 1)
    return svg.replace('aria-labelledby="title desc"', f'aria-labelledby="title-{name} desc-{name}"', 1)


def shown_notes(notes: Sequence[Note]) -> list[Note]:
    """At most MOST_NOTES in the order of time: those that did something first, then those that left all as it was."""
    done = [note for note in notes if note.what != "keep"]
    kept = [note for note in notes if note.what == "keep"]
    return sorted([*done[:MOST_NOTES], *kept[: max(0, MOST_NOTES - len(done))]], key=lambda note: note.at_s)


def _decisions(results: Results) -> Iterator[str]:
    """Of the first replication."""
    notes = results.outcomes[0].notes if results.outcomes else ()
    if not notes:
        return
    shown = shown_notes(notes)
    yield f"<h2>Decisions{' of the first replication' if len(results.outcomes) > 1 else ''}</h2>"
    rows = ((clock(note.at_s), note.deployment, note.what, _epoch(note), note.why) for note in shown)
    yield from table(("time", "deployment", "what", "epoch", "why"), rows, kind="words")
    if len(notes) > len(shown):
        yield f'<p class="faint">and {len(notes) - len(shown):,} more</p>'


def _epoch(note: Note) -> str:
    return "" if note.epoch is None else str(note.epoch)
