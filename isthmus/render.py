"""What people see in a terminal: plans as a picture, statuses as tables. Returns rich renderables, prints nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nodes.framing import HopTiming
from partitioner.plan import ROUTER, Crossing, Plan, Stage
from partitioner.search.atlas import Atlas


def plan_picture(plan: Plan) -> RenderableType:
    """The plan as a picture: stages in their order with node and engine, and the bytes over each crossing between."""
    lines: list[Text] = []
    stages = {stage.name: stage for stage in plan.stages}
    for crossing in plan.crossings:
        if crossing.source != crossing.target:
            lines.append(_crossing_line(crossing))
        if crossing.receiver != ROUTER:
            lines += _stage_box(stages[crossing.receiver])
    total = Text(f"  one request {milliseconds(plan.predicted.latency_s)} predicted")
    if plan.certificate is not None:
        proof = plan.certificate
        total.append(f", {proof.status}" + (f" within {proof.gap:.1%}" if proof.gap > 0 else ""), style="dim")
    return Group(*lines, total, Text(f"  {plan.reason}", style="italic"))


def _stage_box(stage: Stage) -> list[Text]:
    what = f" {stage.node} · {stage.backend} {stage.precision} · {len(stage.operators)} operators "
    time = f"{milliseconds(stage.seconds)} "
    inner = what + time
    return [
        Text("  ┌" + "─" * len(inner) + "┐", style="cyan"),
        Text.assemble(("  │", "cyan"), (what, "bold"), time, ("│", "cyan")),
        Text("  └" + "─" * len(inner) + "┘", style="cyan"),
    ]


def _crossing_line(crossing: Crossing) -> Text:
    codec = "+".join(dict.fromkeys(crossing.codecs))
    way = f"{crossing.source} → {crossing.target}"
    return Text(
        f"      ↓ {way}: {crossing.nbytes:,} bytes {codec} ({', '.join(crossing.tensors)}), "
        f"{milliseconds(crossing.seconds)}",
        style="yellow",
    )


def milliseconds(seconds: float | None) -> str:
    """Seconds as people read them here; a dash for none."""
    return "–" if seconds is None else f"{seconds * 1e3:.1f} ms"


def unsplit_table(plan: Plan) -> Table:
    """What everything on one node would take, beside the plan."""
    table = Table("placement", "predicted", box=None, pad_edge=True)
    for node, seconds in plan.unsplit_s.items():
        table.add_row(f"all on {node}", milliseconds(seconds))
    table.add_row(Text("this plan", style="bold"), Text(milliseconds(plan.predicted.latency_s), style="bold"))
    return table


def atlas_table(atlas: Atlas) -> Table:
    """Which plan is best from which goodput of the link on, and what a request takes there."""
    proof = "proven" if not atlas.gap else f"gap {atlas.gap:.1%}"
    told = f"{atlas.ends[0]} → {atlas.ends[1]}, {proof} under the additive model"
    table = Table("from goodput", "plan", "crosses the link", "latency there", box=None, pad_edge=True, title=told)
    for entry in atlas.entries:
        stages = " | ".join(f"{stage.node} {len(stage.operators)}" for stage in entry.plan.stages)
        latency = milliseconds(entry.latency_s(entry.from_bytes_per_s))
        table.add_row(f"{entry.from_bytes_per_s * 8e-6:.4g} Mbps", stages, f"{entry.link_bytes:,.0f} bytes", latency)
    return table


def status_table(status: Mapping[str, Any]) -> RenderableType:
    """Deployments with their stages, workers, and what links were seen to do."""
    parts: list[RenderableType] = []
    for name, facts in status["deployments"].items():
        head = f"{name}: {facts['state']}, epoch {facts['epoch']}, {milliseconds(facts['latency_s'])} predicted"
        parts.append(Text(head, style="bold"))
        table = Table("epoch", "stage", "node", "backend", "state", box=None, pad_edge=True)
        for epoch in facts["epochs"]:
            for stage in epoch["stages"]:
                cells = (epoch["epoch"], stage["stage"], stage["node"], stage["backend"], stage["state"])
                table.add_row(*(str(cell) for cell in cells))
        parts += [table, Text(f"  {facts['reason']}", style="italic")]
    if not parts:
        parts.append(Text("nothing is deployed"))
    workers = Table("node", "worker at", "pid", "engines", box=None, pad_edge=True)
    for node, facts in status["workers"].items():
        engines = ", ".join(name for name, engine in facts["engines"].items() if "missing" not in engine)
        workers.add_row(node, facts["address"], str(facts["pid"]), engines)
    links = Table("link", "goodput", "round trip", box=None, pad_edge=True)
    for link in status["links"]:
        rate = f"{link['bytes_per_s'] * 8e-6:.1f} Mbps"
        links.add_row(f"{link['from']} → {link['to']}", rate, milliseconds(2 * link["propagation_s"]))
    return Group(*parts, workers, links)


def hops_table(hops: Sequence[HopTiming], transfers: Sequence[tuple[Crossing, float]]) -> Table:
    """Where one request's time went: each stage's own account, and the messages between (`transfer_times`)."""
    table = Table("hop", "queue", "decode", "compute", "encode", "transfer", "bytes", box=None, pad_edge=True)
    timings = {hop.stage: hop for hop in hops}
    for crossing, seconds in transfers:
        way = f"{crossing.source} → {crossing.target}"
        table.add_row(way, "", "", "", "", milliseconds(seconds), f"{crossing.nbytes:,}")
        hop = timings.get(crossing.receiver)
        if hop is not None:
            spent = (hop.queue_s, hop.decode_s, hop.compute_s, hop.encode_s)
            table.add_row(f"  {hop.stage}", *(milliseconds(one) for one in spent), "", "")
    return table


def transfer_times(plan: Plan, hops: Sequence[HopTiming], latency_s: float) -> list[tuple[Crossing, float]]:
    """Seconds of each message of a traced request: what no stage accounts for, shared out as the plan predicts.

    Clocks of different machines are never compared, so a single message's time is known only as a share.
    """
    busy_s = sum(hop.queue_s + hop.decode_s + hop.compute_s + hop.encode_s for hop in hops)
    expected = {crossing: crossing.seconds - crossing.codec_s for crossing in plan.crossings}
    scale = max(latency_s - busy_s, 0.0) / sum(expected.values())
    return [(crossing, seconds * scale) for crossing, seconds in expected.items()]
