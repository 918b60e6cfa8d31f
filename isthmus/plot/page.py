"""The page of a plan: what was asked and is promised, the plan itself, and how the best plan changes with goodput."""

from collections.abc import Iterator

from isthmus.plot import units
from isthmus.plot.band import LEFT
from isthmus.plot.clock import HEIGHT as BAR_HEIGHT
from isthmus.plot.clock import time_bar
from isthmus.plot.colours import node_colours
from isthmus.plot.curve import curve
from isthmus.plot.journey import WIDTH, journey
from isthmus.plot.placements import goodput, unsplit_curves
from isthmus.plot.svg import FAINT, INK, lines_of, page, shortened, text
from partitioner.graph import Graph
from partitioner.plan import Certificate, Plan
from partitioner.problem import Problem
from partitioner.search.atlas import Atlas

INNER = WIDTH - 2 * LEFT
KEY = (
    "box: an operator, dark if it holds weights · box behind a box: several as one, with how many · "
    "thick edge: at a cut · an arrow between stages is as thick as its bytes are many"
)


def plan_svg(graph: Graph, plan: Plan, atlas: Atlas | None = None, *, problem: Problem | None = None) -> str:
    """The plan as an SVG document (UTF-8 text): stages and what crosses between; with an atlas, latency over goodput.

    `graph` and `plan` must be of the same model (KeyError otherwise). `problem`, the one that the plan answers, adds
    today's goodput and unsplit placements to the curve. Equal arguments give equal text.
    """
    nodes = [*plan.unsplit_s, *(stage.node for stage in plan.stages)]
    nodes += [one for crossing in plan.crossings for one in (crossing.source, crossing.target)]
    nodes += [stage.node for entry in (atlas.entries if atlas else ()) for stage in entry.plan.stages]
    colours = node_colours(nodes)
    parts = []
    y = 44.0
    for words, size, bold, fill in _heading(plan):
        parts.append(text(LEFT, y, shortened(words, size, INNER, bold=bold), size=size, bold=bold, fill=fill))
        y += size + 9
    y += 16
    bar = time_bar(plan, colours, LEFT, y, INNER)
    parts += bar
    y += BAR_HEIGHT + 24 if bar else 0
    drawn, y, width = journey(graph, plan, colours, y)
    parts += [*drawn, text(LEFT, y + 8, shortened(KEY, 11, INNER), size=11, fill=FAINT)]
    y += 12
    if atlas is not None:
        unsplit = unsplit_curves(problem, atlas) if problem else {}
        now = goodput(problem.topology, atlas) if problem else None
        drawn, y = curve(atlas, colours, y + 44, unsplit=unsplit, now=now, plan=plan)
        parts += drawn
    title, told, *_ = (words for words, *_ in _heading(plan))
    return page(width, y + 24, title, f"{told}. {plan.reason}. {_described(plan)}", parts)


def _heading(plan: Plan) -> Iterator[tuple[str, float, bool, str]]:
    """Lines above the picture: words, size, bold, colour."""
    where = " | ".join(stage.node for stage in plan.stages)
    kind = "branches side by side on" if plan.parallel else "split over" if plan.is_split else "all on"
    yield f"{plan.model}: {kind} {where}", 24, True, INK
    told = plan.predicted
    figures = [
        f"{units.seconds(told.latency_s)} a request",
        f"{units.digits(told.throughput_per_s)} requests/s at most",
    ]
    figures += [f"{units.digits(told.energy_j)} J"] if told.energy_j is not None else []
    figures += [f"${told.cost_usd:.3g}"] if told.cost_usd is not None else []
    figures += [f"output error {told.error:.2g} at most"] if told.error else []
    yield "predicted: " + " · ".join(figures), 15, False, INK
    yield _proof(plan.certificate), 13, False, INK
    for words in lines_of(plan.reason, 13, INNER, 2):
        yield words, 13, False, FAINT


def _proof(certificate: Certificate | None) -> str:
    if certificate is None:
        return "no certificate: an evaluated candidate, not a solver's answer"
    bound = _bound(certificate)
    proven = "optimal" if certificate.status == "optimal" else f"gap {certificate.gap:.1%}, bound {bound}"
    return f"{proven} for {certificate.objective}, {certificate.cost_model} costs; {certificate.method}"


def _bound(certificate: Certificate) -> str:
    match certificate.objective:
        case "energy":
            return f"{units.digits(certificate.lower_bound)} J"
        case "cost":
            return f"${certificate.lower_bound:.3g}"
        case _:
            return units.seconds(certificate.lower_bound)


def _described(plan: Plan) -> str:
    stages = "; ".join(
        f"{stage.name} on {stage.node}: {len(stage.operators)} operators, {units.seconds(stage.seconds)}"
        for stage in plan.stages
    )
    crossings = "; ".join(
        f"{one.source} to {one.target}: {units.nbytes(one.nbytes)}, {units.seconds(one.seconds)}"
        for one in plan.crossings
    )
    return f"Stages: {stages}. Crossings: {crossings}."
