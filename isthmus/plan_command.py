"""The options of `isthmus plan`. What it does is in isthmus/verbs/planning.py."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.options import AsJson, MaxError, Private, Samples, Shapes, Source

if TYPE_CHECKING:
    from partitioner.problem import Limits

TopologyFile = Annotated[Path, typer.Option("--topology", "-T", help="topology.yaml")]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="file written by isthmus profile")]
Objective = Annotated[str, typer.Option(help="latency, throughput, energy or cost")]
Deadline = Annotated[float | None, typer.Option(help="most latency of a request", min=0)]
Energy = Annotated[float | None, typer.Option(help="most joules a request", min=0)]
Cost = Annotated[float | None, typer.Option(help="most US dollars a request", min=0)]
Throughput = Annotated[float | None, typer.Option(help="least answers a second", min=0)]
Budget = Annotated[float | None, typer.Option(help="most error of all codecs together (--max-error: of each)", min=0)]
Pins = Annotated[list[str] | None, typer.Option(help="OPERATOR=NODE; may be repeated")]
Groups = Annotated[list[str] | None, typer.Option(help="A,B: operators that share a stage; may be repeated")]
ComeBack = Annotated[bool, typer.Option("--come-back", help="data may come back down the tiers")]
Parallel = Annotated[bool, typer.Option("--parallel", help="branches run on several nodes at once")]
Serialised = Annotated[bool, typer.Option("--serialised", help="throughput: no computing during transfers")]
Replicas = Annotated[int, typer.Option(help="throughput: equal nodes that may share a stage", min=1)]
Load = Annotated[float | None, typer.Option(help="requests a second: latency with its queues", min=0)]
Pareto = Annotated[str | None, typer.Option(help="the front of these: latency,energy[,cost,error]")]
Over = Annotated[str | None, typer.Option(help="SOURCE:TARGET[:LOW:HIGH]: every optimal plan over that link's Mbps")]
Explain = Annotated[bool, typer.Option("--explain", help="the next best plans and what they would cost")]
Plot = Annotated[Path | None, typer.Option(help="draw the plan, and latency against goodput: FILE.svg")]
Seconds = Annotated[float, typer.Option(help="of solving at most, where no special solver is exact", min=0)]


def plan(
    model: Path,
    topology: TopologyFile,
    profile_file: ProfileFile = None,
    objective: Objective = "latency",
    source: Source = None,
    private: Private = None,
    max_error: MaxError = 0.0,
    shape: Shapes = None,
    samples: Samples = None,
    deadline_ms: Deadline = None,
    max_energy: Energy = None,
    max_cost: Cost = None,
    min_throughput: Throughput = None,
    error_budget: Budget = None,
    pin: Pins = None,
    together: Groups = None,
    come_back: ComeBack = False,
    parallel: Parallel = False,
    serialised: Serialised = False,
    replicas: Replicas = 1,
    load: Load = None,
    pareto: Pareto = None,
    atlas: Over = None,
    explain: Explain = False,
    plot: Plot = None,
    seconds: Seconds = 20.0,
    as_json: AsJson = False,
) -> None:
    """The plan, its prediction and its certificate; within limits, as a front, an atlas, a picture, with its rivals."""
    from isthmus.question import Question
    from isthmus.verbs.planning import Wish, print_plan

    question = Question(
        model=model,
        topology=topology,
        source=source,
        private=tuple(private or ()),
        max_error=max_error,
        objective=objective,
        shapes=tuple(shape or ()),
        samples=tuple(samples or ()),
        limits=_limits(deadline_ms, min_throughput, max_energy, max_cost, error_budget),
        pins=tuple(pin or ()),
        together=tuple(together or ()),
        forward_only=not come_back,
        parallel=parallel,
        serialised=serialised,
        replicas=replicas,
    )
    wish = Wish(over=atlas, pareto=pareto, load_per_s=load, explain=explain, plot=plot, seconds=seconds)
    print_plan(question, profile_file, wish, as_json=as_json)


def _limits(
    deadline_ms: float | None, rate: float | None, energy: float | None, cost: float | None, error: float | None
) -> "Limits":
    from partitioner.problem import Limits

    most_s = None if deadline_ms is None else deadline_ms / 1e3
    return Limits(latency_s=most_s, throughput_per_s=rate, energy_j=energy, cost_usd=cost, error=error)
