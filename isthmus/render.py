"""What people see in a terminal: plans as a picture, statuses as tables. Returns rich renderables, prints nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nodes.framing import HopTiming
from partitioner.figures import score
from partitioner.plan import ROUTER, Crossing, Plan, Stage, told
from partitioner.search.alternatives import Alternative
from partitioner.search.atlas import Atlas
from partitioner.search.pareto import Front
from partitioner.standing import Standing


def plan_picture(plan: Plan) -> RenderableType:
    """The plan as a picture: stages in their order with node and engine, and the bytes over each crossing between."""
    lines: list[Text] = []
    for stage in plan.stages:
        lines += [_crossing_line(one) for one in plan.crossings if one.receiver == stage.name and not _stays(one)]
        lines += _stage_box(stage)
    lines += [_crossing_line(one) for one in plan.crossings if one.receiver == ROUTER and not _stays(one)]
    total = Text(f"  one request {figures_text(plan)} predicted")
    if plan.certificate is not None:
        proof = plan.certificate
        gap = f" within {proof.gap:.1%}" if proof.gap > 0 else ""
        total.append(f", {proof.objective} {proof.status}{gap}", style="dim")
    return Group(*lines, total, *([Text(f"  {plan.reason}", style="italic")] if plan.reason else []))


def figures_text(plan: Plan) -> str:
    """What a request takes, in one line: latency always, the others where they are known and say something."""
    told_of = plan.predicted
    parts = [milliseconds(told_of.latency_s)]
    objective = "latency" if plan.certificate is None else plan.certificate.objective
    if objective == "throughput":
        parts.append(f"{told_of.throughput_per_s:.4g}/s")
    parts += [told(told_of.energy_j, "energy")] if told_of.energy_j is not None else []
    parts += [told(told_of.cost_usd, "cost")] if told_of.cost_usd is not None else []
    parts += [f"output error up to {told_of.error:.2g}"] if told_of.error else []
    return ", ".join(parts)


def _stage_box(stage: Stage) -> list[Text]:
    where = " + ".join((stage.node, *stage.replicas))
    what = f" {where} · {stage.backend} {stage.precision} · {len(stage.operators)} operators "
    unsure = f"±{stage.std_s * 1e3:.1f} " if stage.std_s else ""
    time = f"{milliseconds(stage.seconds)} {unsure}"
    inner = what + time
    return [
        Text("  ┌" + "─" * len(inner) + "┐", style="cyan"),
        Text.assemble(("  │", "cyan"), (what, "bold"), time, ("│", "cyan")),
        Text("  └" + "─" * len(inner) + "┘", style="cyan"),
    ]


def _stays(crossing: Crossing) -> bool:
    return crossing.source == crossing.target


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


def standing_line(found: Standing, objective: str) -> Text:
    """How far the plan is ahead of the next best one of which every segment was timed."""
    figure = score(found.runner_up.predicted, objective) or 0.0
    stages = found.runner_up.stages
    where = " | ".join(f"{stage.node} {stage.backend} {len(stage.operators)}" for stage in stages)
    return Text(f"  measured runner-up: {where}, {told(figure, objective)} ({found.gap:+.1%})", style="dim")


def load_line(loaded: Mapping[str, Any]) -> Text:
    """What queues add at a load, and which resource is the busiest."""
    busiest, share = max(loaded["utilisation"].items(), key=lambda one: one[1])
    mean = told(loaded["latency_s"], "latency")
    return Text(f"  at {loaded['arrivals_per_s']:g} requests/s: {mean} with queues; {busiest} is busy for {share:.0%}")


def alternatives_table(plan: Plan, others: Sequence[Alternative], objective: str) -> Table:
    """The next best plans: what is different, what they'd take, and what of that is the crossing."""
    own = score(plan.predicted, objective) or 0.0
    table = Table("instead", "operators", objective, "more", "crossings", box=None, pad_edge=True)
    for one in others:
        stages = " | ".join(f"{stage.node} {len(stage.operators)}" for stage in one.plan.stages)
        crossing_s = sum(crossing.seconds for crossing in one.plan.crossings)
        more = f"{one.score / own - 1:+.1%}" if own else ""
        table.add_row(one.change, stages, told(one.score, objective), more, milliseconds(crossing_s))
    return table


def front_table(front: Front) -> Table:
    """Plans of which none is better in every respect."""
    complete = "all of the front" if front.complete else "some of the front"
    heads = [f"{name}" for name in front.objectives]
    table = Table("plan", *heads, "proof", box=None, pad_edge=True, title=f"{complete}, by {heads[0]}")
    for plan in front.plans:
        stages = " | ".join(f"{stage.node} {len(stage.operators)}" for stage in plan.stages)
        cells = [told(score(plan.predicted, name) or 0.0, name) for name in front.objectives]
        proof = "–" if plan.certificate is None else plan.certificate.status
        table.add_row(stages, *cells, proof)
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
    return Group(*faults(status), *deployments(status), workers_table(status), links_table(status["links"]))


def faults(status: Mapping[str, Any]) -> list[Text]:
    """What is wrong, a line each: a journal that takes no more, a silent radio network, a stage that is lost."""
    journal = status.get("journal") or {}
    found = [Text(f"nothing is decided: {journal['fault']}", style="bold red")] if journal.get("fault") else []
    found += [Text(str(told), style="yellow") for told in status.get("rnis", ())]
    for name, facts in status["deployments"].items():
        if facts.get("lost_stage"):
            found.append(Text(f"{name} has lost {facts['lost_stage']}", style="bold red"))
        if facts.get("searching"):
            found.append(Text(f"{name} is being planned: {facts['searching']}", style="yellow"))
    return found


def deployments(status: Mapping[str, Any]) -> list[RenderableType]:
    """Each deployment with its epochs, their stages, and why it is so."""
    parts = [part for name, facts in status["deployments"].items() for part in _deployment(name, facts)]
    return parts or [Text("nothing is deployed")]


def _deployment(name: str, facts: Mapping[str, Any]) -> list[RenderableType]:
    version = f" (version {facts['version']})" if facts.get("version") else ""
    head = f"{name}: {facts['state']}, epoch {facts['epoch']}{version}, {milliseconds(facts['latency_s'])} predicted"
    table = Table("epoch", "is", "stage", "node", "backend", "state", box=None, pad_edge=True)
    for epoch in facts["epochs"]:
        for stage in epoch["stages"]:
            cells = (epoch["epoch"], epoch["state"], stage["stage"], stage["node"], stage["backend"], stage["state"])
            table.add_row(*(str(cell) for cell in cells))
    trial = facts.get("rollout")
    tried = [] if trial is None else [Text(f"  {rollout_line(trial)}", style="cyan")]
    return [Text(head, style="bold"), table, Text(f"  {facts['reason']}", style="italic"), *tried]


def rollout_line(trial: Mapping[str, Any]) -> str:
    """A version on trial: its share, what it did so far, and what is missing for a judgement."""
    new, old = trial["new"], trial["old"]
    failed, failed_before = sum(new["failed"].values()), sum(old["failed"].values())
    figures = (
        f"{new['answered']} answered and {failed} failed, {milliseconds(new['median_s'])}, "
        f"against {old['answered']} and {failed_before}, {milliseconds(old['median_s'])}"
    )
    share = f"version {trial['version']} on trial ({trial['mode']}, {trial['weight']:.0%})"
    return f"{share}: {figures}; {trial['verdict']}: {trial['reason']}"


def workers_table(status: Mapping[str, Any]) -> Table:
    """Each node's worker with its code and its engines, also of nodes that are lost; the controller with its code."""
    table = Table("node", "worker at", "pid", "code", "engines", box=None, pad_edge=True)
    lost = status.get("lost_nodes", ())
    for node, facts in status["workers"].items():
        engines = ", ".join(name for name, engine in facts["engines"].items() if "missing" not in engine)
        named = Text(f"{node}, lost", style="red") if node in lost else Text(node)
        table.add_row(named, facts["address"], str(facts["pid"]), facts.get("code", ""), engines)
    for node in lost:
        if node not in status["workers"]:
            table.add_row(Text(f"{node}, lost", style="red"), "–", "–", "–", "–")
    if controller := status.get("controller"):
        table.add_row(Text("controller", style="italic"), "–", str(controller["pid"]), controller["code"], "–")
    return table


def links_table(links: Sequence[Mapping[str, Any]]) -> Table:
    """Goodput with how sure it is (its relative standard deviation, where that is told) and round trip."""
    table = Table("link", "goodput", "round trip", box=None, pad_edge=True)
    for link in links:
        unsure = f" ±{link['std']:.0%}" if link.get("std") else ""
        rate = f"{link['bytes_per_s'] * 8e-6:.1f} Mbps{unsure}"
        table.add_row(f"{link['from']} → {link['to']}", rate, milliseconds(2 * link["propagation_s"]))
    return table


def hops_table(hops: Sequence[HopTiming], transfers: Sequence[tuple[Crossing, float]]) -> Table:
    """Where one request's time went: each stage's own account, and the messages between (`transfer_times`)."""
    table = Table("hop", "queue", "decode", "compute", "encode", "transfer", "bytes", "code", box=None, pad_edge=True)
    timings = {hop.stage: hop for hop in hops}
    for crossing, seconds in transfers:
        way = f"{crossing.source} → {crossing.target}"
        table.add_row(way, "", "", "", "", milliseconds(seconds), f"{crossing.nbytes:,}", "")
        hop = timings.get(crossing.receiver)
        if hop is not None:
            spent = (hop.queue_s, hop.decode_s, hop.compute_s, hop.encode_s)
            table.add_row(f"  {hop.stage}", *(milliseconds(one) for one in spent), "", "", hop.code)
    return table


def transfer_times(plan: Plan, hops: Sequence[HopTiming], latency_s: float) -> list[tuple[Crossing, float]]:
    """Seconds of each message of a traced request: what no stage accounts for, shared out as the plan predicts.

    Clocks of different machines are never compared, so a single message's time is known only as a share.
    """
    busy_s = sum(hop.queue_s + hop.decode_s + hop.compute_s + hop.encode_s for hop in hops)
    expected = {crossing: crossing.seconds - crossing.codec_s for crossing in plan.crossings}
    scale = max(latency_s - busy_s, 0.0) / sum(expected.values())
    return [(crossing, seconds * scale) for crossing, seconds in expected.items()]
