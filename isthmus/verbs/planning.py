"""`isthmus plan`: where to cut, proven; or the front, the atlas, the picture of it. Nothing is deployed."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from isthmus.question import Question
from isthmus.render import (
    alternatives_table,
    atlas_table,
    front_table,
    load_line,
    plan_picture,
    standing_line,
    unsplit_table,
)
from isthmus.terminal import fail, note, progress, show, show_json, warn
from isthmus.verbs.profile import refuse_early
from orchestrator.blueprint import pose
from orchestrator.errors import SpecError
from orchestrator.own_host import blueprint_here
from orchestrator.plan_json import alternatives_to_json, atlas_to_json, front_to_json, plan_to_json
from orchestrator.profile_file import profile_of
from orchestrator.spec import DeploymentSpec
from partitioner.check import faults
from partitioner.plan import Infeasible, Plan
from partitioner.problem import NO_LIMITS, Problem
from partitioner.queueing import loaded_latency_s, utilisations
from partitioner.search.alternatives import Alternative, alternatives
from partitioner.search.answer import answer
from partitioner.search.atlas import Atlas, atlas
from partitioner.search.pareto import Front, front
from partitioner.search.underload import best_under_load
from partitioner.standing import Standing, standing
from partitioner.topology import Link

MBPS = 125_000.0  # bytes per second
ATLAS_MBPS = (1.0, 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be shown of a question. `over`: a link as SOURCE:TARGET[:LOW:HIGH]; `pareto`: objectives, with commas.

    `load_per_s`: requests a second, for the latency with its queues. `plot`: an SVG file. `seconds`: to solve.
    """

    over: str | None = None
    pareto: str | None = None
    load_per_s: float | None = None
    explain: bool = False
    plot: Path | None = None
    seconds: float = 20.0


def print_plan(question: Question, profile_file: Path | None, wish: Wish, *, as_json: bool) -> None:
    """Plan, from a profile file or by measuring here, and print what is wished.

    Exit 1 with the constraint if no plan fits.
    """
    spec = question.spec()
    if wish.plot is not None and wish.plot.suffix != ".svg":
        raise SpecError(f"--plot {wish.plot}: an SVG is drawn; name a file that ends in .svg")
    ends = None if wish.over is None else _range_of(wish.over)
    with progress("profiling and planning"):
        problem = question.wanted(_from_file(spec, profile_file) if profile_file else _measured(spec))
        if ends is not None and wish.plot is None:
            _show_atlas(atlas(problem, *ends), as_json=as_json)
            return
        if wish.pareto is not None:
            _show_front(front(problem, _names(wish.pareto), seconds=wish.seconds), as_json=as_json)
            return
        plan = _kept(_best(problem, wish), problem)
        others = alternatives(problem, plan) if wish.explain else ()
        if wish.plot is not None:
            _plot(wish.plot, problem, plan, ends)
    if as_json:
        more: dict[str, Any] = {"alternatives": alternatives_to_json(others)} if wish.explain else {}
        if wish.load_per_s is not None:
            more["loaded"] = _loaded(problem, plan, wish.load_per_s)
        show_json(plan_to_json(plan, objective=problem.objective) | more)
        return
    for part in _parts(problem, plan, others, wish):
        show(part)
    if wish.plot is not None:
        show(f"  drawn in {wish.plot}")


def _best(problem: Problem, wish: Wish) -> Plan | Infeasible:
    if wish.load_per_s is None:
        return answer(problem, seconds=wish.seconds)
    if problem.objective != "latency":
        raise SpecError(f"--load asks for the latency with its queues, not for {problem.objective}; leave one out")
    often = answer(replace(problem, objective="throughput"), seconds=wish.seconds)
    return best_under_load(problem, [often] if isinstance(often, Plan) else [], wish.load_per_s)


def _kept(found: Plan | Infeasible, problem: Problem) -> Plan:
    """The plan, once the checker, which shares nothing with the solvers, has gone over it."""
    if isinstance(found, Infeasible):
        fail(f"no plan fits: {found.constraint}: {found.detail}")
    wrong = faults(problem, found)
    if wrong:
        fail(f"the plan found does not stand: {wrong[0]}; this is a fault of the planner, please report it")
    return found


def _loaded(problem: Problem, plan: Plan, arrivals_per_s: float) -> dict[str, Any]:
    """The plan at so many requests a second: mean latency with queues, and each resource's utilisation."""
    busy = utilisations(problem, plan, arrivals_per_s)
    named = {one if isinstance(one, str) else f"{one[0]} → {one[1]}": share for one, share in busy.items()}
    latency_s = loaded_latency_s(problem, plan, arrivals_per_s)
    return {"arrivals_per_s": arrivals_per_s, "latency_s": latency_s, "utilisation": named}


def _parts(problem: Problem, plan: Plan, others: tuple[Alternative, ...], wish: Wish) -> list[RenderableType]:
    parts = [plan_picture(plan), unsplit_table(plan)]
    if wish.load_per_s is not None:
        parts.append(load_line(_loaded(problem, plan, wish.load_per_s)))
    ahead: Standing | None = standing(problem, plan) if wish.load_per_s is None else None
    if ahead is not None:
        parts.append(standing_line(ahead, problem.objective))
    if wish.explain:
        parts.append(alternatives_table(plan, others, problem.objective))
    return parts


def _show_atlas(found: Atlas | Infeasible, *, as_json: bool) -> None:
    if isinstance(found, Infeasible):
        fail(f"no plan fits: {found.constraint}: {found.detail}")
    show_json(atlas_to_json(found)) if as_json else show(atlas_table(found))


def _show_front(found: Front | Infeasible, *, as_json: bool) -> None:
    if isinstance(found, Infeasible):
        fail(f"no plan fits: {found.constraint}: {found.detail}")
    show_json(front_to_json(found)) if as_json else show(front_table(found))


def _plot(path: Path, problem: Problem, plan: Plan, ends: tuple[tuple[str, str], float, float] | None) -> None:
    """Draw the plan and, over the link asked for or the first that it crosses, its latency against goodput."""
    from isthmus.plot import plan_svg

    plain = replace(problem, objective="latency", parallel=False, forward_only=True, limits=NO_LIMITS)
    over = ends or _crossed(problem, plan)
    drawn = None if over is None else atlas(plain, *over)
    picture = plan_svg(problem.graph, plan, drawn if isinstance(drawn, Atlas) else None, problem=problem)
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}") from None


def _crossed(problem: Problem, plan: Plan) -> tuple[tuple[str, str], float, float] | None:
    """The first link that a message of the plan takes, else the first out of the source; None without links."""
    low, high = (rate * MBPS for rate in ATLAS_MBPS)
    ways = [problem.topology.path(crossing.source, crossing.target) for crossing in plan.crossings]
    links: list[Link] = [link for way in ways if way is not None for link in way.links]
    links += [link for link in problem.topology.links if link.source == problem.source]
    if not links:
        return None
    return (links[0].source, links[0].target), min(low, links[0].bytes_per_s), max(high, links[0].bytes_per_s)


def _range_of(text: str) -> tuple[tuple[str, str], float, float]:
    """SOURCE:TARGET or SOURCE:TARGET:LOW:HIGH in Mbps, as the link's ends and bytes per second."""
    parts = text.split(":")
    try:
        low, high = (float(part) for part in parts[2:]) if len(parts) > 2 else ATLAS_MBPS
    except ValueError:
        parts = []
    if len(parts) == 4 and not 0 < low <= high:
        raise SpecError(f"--atlas {text}: the goodputs should be above 0 and ascend, in Mbps")
    if len(parts) not in (2, 4):
        raise SpecError(f"--atlas {text}: should be SOURCE:TARGET, or SOURCE:TARGET:LOW:HIGH with goodputs in Mbps")
    return (parts[0], parts[1]), low * MBPS, high * MBPS


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _from_file(spec: DeploymentSpec, path: Path) -> Problem:
    from isthmus.planning import engines_of
    from orchestrator.model_file import prepare, read_model

    model = read_model(spec, prepare(spec).path)
    profile = profile_of(model.sha256, path, spec.model)
    if spec.max_error > 0 and not profile.tensors:
        warn(f"{path} knows nothing of codecs, so all goes raw; profile with --max-error {spec.max_error:g} for that")
    return pose(spec, model, profile, engines_of(profile, spec.topology))


def _measured(spec: DeploymentSpec) -> Problem:
    refuse_early(spec, None)
    return asyncio.run(blueprint_here(spec, note)).problem()
