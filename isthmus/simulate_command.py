"""The options of `isthmus simulate`. What it does is in isthmus/verbs/simulate.py."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.options import AsJson

Named = Annotated[str | None, typer.Argument(metavar="SCENARIO", help="a YAML file, or the name of a ready-made one")]
Replications = Annotated[int | None, typer.Option(help="with other luck each; default: the scenario's own", min=1)]
Processes = Annotated[int | None, typer.Option(help="at once; default: 1, and as many as cores for --sweep", min=1)]
Seed = Annotated[int | None, typer.Option(help="default: the scenario's own", min=0)]
Against = Annotated[str | None, typer.Option("--compare", help="another scenario, to be simulated with the same luck")]
Sweep = Annotated[
    list[str] | None, typer.Option(help="KEY=a,b,c: a path in the YAML, as users[0].count; again: a grid; runs on Ray")
]
RowsTo = Annotated[Path | None, typer.Option("--rows", help="a row for each request: FILE.csv or FILE.parquet")]
Plot = Annotated[Path | None, typer.Option(help="a folder to draw SVGs into")]
Html = Annotated[Path | None, typer.Option(help="one page with tables, plots and decisions: FILE.html")]
Listed = Annotated[bool, typer.Option("--list", help="ready-made scenarios, and what each is about")]


def simulate(
    scenario: Named = None,
    replications: Replications = None,
    processes: Processes = None,
    seed: Seed = None,
    against: Against = None,
    sweep: Sweep = None,
    rows: RowsTo = None,
    plot: Plot = None,
    html: Html = None,
    listed: Listed = False,
    as_json: AsJson = False,
) -> None:
    """What would be: users, cells and sites under simulated time, decided by the very code that runs live."""
    from isthmus.verbs.simulate import Asked, print_list, print_simulation

    if listed:
        print_list(as_json=as_json)
        return
    if scenario is None:
        raise typer.BadParameter("give a YAML file or a ready-made scenario; --list names these", param_hint="SCENARIO")
    several = [option for option, given in (("--compare", against), ("--sweep", sweep)) if given]
    if len(several) > 1:
        raise typer.BadParameter("can't go with --compare: leave one out", param_hint="--sweep")
    if rows is not None and several:
        raise typer.BadParameter(f"are one scenario's: leave {several[0]} out", param_hint="--rows")
    asked = Asked(
        scenario=scenario,
        replications=replications,
        processes=processes,
        seed=seed,
        against=against,
        sweep=tuple(sweep or ()),
        rows=rows,
        plot=plot,
        html=html,
    )
    print_simulation(asked, as_json=as_json)
