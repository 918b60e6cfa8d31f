"""The options of `isthmus select`. What it does is in isthmus/verbs/select.py."""

from pathlib import Path
from typing import Annotated

import typer

from isthmus.options import AsJson, Shapes, Topology

Data = Annotated[Path | None, typer.Option(help=".npz, .npy or image, or a folder of them; default: seeded samples")]
Labels = Annotated[Path | None, typer.Option(help="classes of --data, one a sample: .npy, .npz or .txt")]
Address = Annotated[
    str | None, typer.Option(help="HOST:PORT of a Ray head: measure on its nodes themselves, through their workers")
]
Token = Annotated[Path | None, typer.Option(help="token of workers that were started by hand")]
Nodes = Annotated[str | None, typer.Option(help="NAME,NAME of the topology: their threads, watts, prices, engines")]
Backends = Annotated[str | None, typer.Option(help="NAME,NAME; default: all")]
Precisions = Annotated[str | None, typer.Option(help="NAME,NAME; default: all that each engine computes in")]
Variants = Annotated[str, typer.Option(help="forms: int8, float16, weights8, weights4, …; float32: the model itself")]
Threads = Annotated[str | None, typer.Option(help="such as 1,2; default: one and every core, or the nodes' own")]
Batches = Annotated[str, typer.Option(help="sizes of the batch curve")]
Goal = Annotated[str, typer.Option(help="latency, throughput, energy or cost")]
MostError = Annotated[
    float | None,
    typer.Option(help="of outputs, as a share of the largest: more is not chosen; 0.01, or any with --max-loss"),
]
MostLoss = Annotated[float | None, typer.Option(help="percentage points of top-1 below the reference's; with --labels")]
PerHour = Annotated[float | None, typer.Option(help="what this machine costs; before the nodes' own", min=0)]
Purchase = Annotated[float | None, typer.Option(help="what it was bought for; before the nodes' own", min=0)]
Years = Annotated[float, typer.Option(help="over which a purchase is paid off", min=0.01)]
Utilisation = Annotated[float, typer.Option(help="share of the time that it answers", min=0.001, max=1)]
Budget = Annotated[float, typer.Option(help="seconds in all; what is left then is measured by the same command", min=1)]
Plot = Annotated[Path | None, typer.Option(help="draw error against latency: FILE.svg")]
Fresh = Annotated[bool, typer.Option("--fresh", help="measure anew what was measured before")]


def select(
    model: Path,
    data: Data = None,
    labels: Labels = None,
    topology: Topology = None,
    address: Address = None,
    token_file: Token = None,
    nodes: Nodes = None,
    backends: Backends = None,
    precisions: Precisions = None,
    variants: Variants = "int8,float16",
    threads: Threads = None,
    batches: Batches = "1,2,4,8",
    goal: Goal = "latency",
    max_error: MostError = None,
    max_loss: MostLoss = None,
    usd_per_hour: PerHour = None,
    purchase_usd: Purchase = None,
    years: Years = 3.0,
    utilisation: Utilisation = 1.0,
    budget: Budget = 600.0,
    shape: Shapes = None,
    plot: Plot = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Which engine, at which precision: speed, accuracy and cost of each, measured; what to take, and why."""
    from isthmus.verbs.select import Cluster, asked_of, print_comparison

    asked = asked_of(
        model,
        data=data,
        labels=labels,
        topology=topology,
        address=address,
        nodes=nodes,
        backends=backends,
        precisions=precisions,
        variants=variants,
        threads=threads,
        batches=batches,
        shapes=shape or (),
        goal=goal,
        max_error=max_error,
        max_loss=max_loss,
        usd_per_hour=usd_per_hour,
        purchase_usd=purchase_usd,
        years=years,
        utilisation=utilisation,
        budget_s=budget,
        fresh=fresh,
    )
    there = None if address is None else Cluster(address=address, nodes=nodes, token_file=token_file)
    print_comparison(asked, plot, there, as_json=as_json)
