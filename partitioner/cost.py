"""The one evaluator that every solver is scored by: operators on sites in, a priced plan out.

Latency of one request alone = Σ stage seconds + Σ crossing seconds. A stage takes its node's slowdown times
the segment's measured seconds, or, where that segment was not timed, the call's seconds plus its operators'.
Crossings are: the router to the first stage, each stage to the next, and each stage that makes model outputs
back to their node. Of a `parallel` problem makespan.py tells crossings and latency; the rest is the same here.
It searches nothing, and judges no limit (constraints.py does).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from partitioner.errors import InvalidProblem
from partitioner.figures import cost_usd, energy_j, throughput_per_s
from partitioner.fitted import fit_of
from partitioner.makespan import crossings_of, makespan_s, send
from partitioner.messages import Carried, Route, carry, route_over
from partitioner.plan import ROUTER, Crossing, Plan, Predicted, Stage
from partitioner.problem import Problem, Site
from partitioner.profile import EngineProfile, segment_key
from partitioner.stages import Placed, form_stages
from partitioner.tables import Ints, Prices, engine_profile, price_list
from partitioner.topology import NodeId, Path


def evaluate(
    problem: Problem, assignment: Mapping[int, Site] | Sequence[Site], codecs: Mapping[str, str] | None = None
) -> Plan:
    """The plan that runs operator i on `assignment[i]`, with what it is predicted to cost.

    `codecs` names a codec for some tensors; the others get their cheapest admissible one, the same rule
    for split and unsplit plans. InvalidProblem for an operator without a site or without a time there,
    for a way that no link offers, and for a codec never measured.
    """
    prices = price_list(problem)
    count = len(problem.graph.operators)
    missing = [i for i in range(count) if i not in assignment] if isinstance(assignment, Mapping) else []
    if missing or len(assignment) != count:
        raise InvalidProblem(f"{problem.graph.name}: {len(assignment)} sites were given for {count} operators")
    sites = [assignment[i] for i in range(count)]
    for site in set(sites) - set(problem.sites):
        raise InvalidProblem(f"{site.node}: {site.engine} is not among the problem's sites")
    return price_stages(prices, form_stages(problem, sites), codecs)


def without_segments(problem: Problem) -> Problem:
    """The same problem under the additive model that solvers search in: operators' sums, no measured segment."""
    engines = {key: replace(engine, segment_s={}) for key, engine in problem.profile.engines.items()}
    return replace(problem, profile=replace(problem.profile, engines=engines))


def price_stages(prices: Prices, placed: Sequence[Placed], codecs: Mapping[str, str] | None = None) -> Plan:
    """The plan made of these stages in this order. InvalidProblem as in `evaluate`."""
    problem = prices.problem
    if problem.parallel:
        position_of = positions(prices, placed)
        carried = send(prices, [site for site, _ in placed], position_of, codecs)
        stages = _stages(prices, placed, position_of, carried)
        crossings = crossings_of(problem, prices.table.names, stages, carried)
        latency_s = makespan_s(stages, crossings, carried)
    else:
        route = _route(problem, placed)
        position_of = positions(prices, placed)
        carried = carry(prices, route, position_of, codecs)
        stages = _stages(prices, placed, position_of, carried)
        crossings = _crossings(prices, route, carried)
        latency_s = sum(stage.seconds for stage in stages) + sum(crossing.seconds for crossing in crossings)
    return Plan(
        model=problem.graph.name,
        stages=stages,
        crossings=crossings,
        predicted=Predicted(
            latency_s=latency_s,
            throughput_per_s=throughput_per_s(problem, stages, crossings),
            energy_j=energy_j(problem, stages, crossings),
            cost_usd=cost_usd(problem, stages, crossings),
            error=_error(prices, carried),
        ),
        parallel=problem.parallel,
    )


def additive_latency_s(prices: Prices, placed: Sequence[Placed]) -> float:
    """`price_stages(...).predicted.latency_s` as if no segment had been measured, and (serially) much sooner."""
    problem = prices.problem
    if problem.parallel:
        unmeasured = replace(prices, problem=without_segments(problem))
        return price_stages(unmeasured, placed).predicted.latency_s
    route = _route(problem, placed)
    carried = carry(prices, route, positions(prices, placed))
    compute_s = sum(call_s(problem, site) + float(prices.operator_s[site][members].sum()) for site, members in placed)
    returning = {(one.position, one.to) for one in carried if one.to is not None}
    back_s = sum(route.back_fixed_s(to, position) for position, to in sorted(returning))
    return compute_s + sum(route.leg_fixed_s) + back_s + sum(one.seconds for one in carried)


def call_s(problem: Problem, site: Site) -> float:
    """Seconds that each run of a stage on this site takes besides its operators, slowed."""
    return engine_profile(problem, site).call_s * problem.topology.node(site.node).slowdown


def positions(prices: Prices, placed: Sequence[Placed]) -> Ints:
    """Each operator's position on the route over these stages, from 1. InvalidProblem if one has no time there."""
    position_of = np.zeros(len(prices.problem.graph.operators), dtype=np.int64)
    for position, (site, members) in enumerate(placed, start=1):
        position_of[members] = position
        unknown = members[np.isinf(prices.operator_s[site][members])]
        if len(unknown):
            name = prices.problem.graph.operators[int(unknown[0])].name
            raise InvalidProblem(f"operator {name!r} has no time on {site.node} ({site.engine.backend}): it cannot run")
    return position_of


def _route(problem: Problem, placed: Sequence[Placed]) -> Route:
    sites = [site for site, _ in placed]
    route = route_over(problem, sites)
    if route is None:
        way = " → ".join((problem.source, *(site.node for site in sites)))
        raise InvalidProblem(f"no links lead along {way}; add the missing link or place elsewhere")
    return route


def _stages(
    prices: Prices, placed: Sequence[Placed], position_of: Ints, carried: Iterable[Carried]
) -> tuple[Stage, ...]:
    problem, names = prices.problem, prices.table.names
    reads: list[list[str]] = [[] for _ in range(len(placed) + 1)]
    gives: list[list[str]] = [[] for _ in range(len(placed) + 1)]
    for one in carried:
        gives[one.position].append(names[one.tensor])
        for position in one.read_at:
            reads[position].append(names[one.tensor])
    stages = []
    for position, (site, members) in enumerate(placed, start=1):
        operators = tuple(problem.graph.operators[i].name for i in members.tolist())
        seconds, std_s, measured = _stage_s(prices, site, members, operators)
        stages.append(
            Stage(
                name=stage_name(position),
                node=site.node,
                backend=site.engine.backend,
                precision=site.engine.precision,
                operators=operators,
                inputs=tuple(reads[position]),
                outputs=tuple(gives[position]),
                weights_bytes=problem.graph.weights_of(members.tolist()),
                seconds=seconds,
                measured=measured,
                std_s=std_s,
            )
        )
    return tuple(stages)


def stage_name(position: int) -> str:
    """What a stage is called: s1 is the first that a request meets; position 0 is the router."""
    return f"s{position}" if position else ROUTER


def _stage_s(prices: Prices, site: Site, members: Ints, operators: tuple[str, ...]) -> tuple[float, float, bool]:
    """Seconds, how unsure they are, and whether they were measured; else fitted to other segments, or summed."""
    engine: EngineProfile = engine_profile(prices.problem, site)
    slowdown = prices.problem.topology.node(site.node).slowdown
    if engine.segment_s:
        measured = engine.segment_s.get(segment_key(operators))
        if measured is not None:
            return measured * slowdown, 0.0, True
        fitted = fit_of(prices.problem.graph, engine)
        if fitted is not None:
            seconds, std_s = fitted.seconds(members)
            return seconds * slowdown, std_s * slowdown, False
    return call_s(prices.problem, site) + float(prices.operator_s[site][members].sum()), 0.0, False


def _crossings(prices: Prices, route: Route, carried: Sequence[Carried]) -> tuple[Crossing, ...]:
    crossings = []
    for position in range(1, len(route.nodes)):
        riders = [one for one in carried if one.read_at and one.position < position <= one.read_at[-1]]
        codec_s = sum(one.encode_s for one in riders if one.position == position - 1)
        codec_s += sum(one.decode_s[one.read_at.index(position)] for one in riders if position in one.read_at)
        ends = (position - 1, position, route.nodes[position])
        crossings.append(_crossing(prices, route, ends, route.legs[position], riders, codec_s))
    for position, to in sorted({(one.position, one.to) for one in carried if one.to is not None}):
        riders = [one for one in carried if (one.position, one.to) == (position, to)]
        codec_s = sum(one.decode_s[-1] + (0.0 if one.read_at else one.encode_s) for one in riders)
        path = route.back[to][position]
        if path is not None:  # a missing way back was refused when the tensors were priced
            crossings.append(_crossing(prices, route, (position, 0, to), path, riders, codec_s))
    return tuple(crossings)


def _crossing(
    prices: Prices, route: Route, ends: tuple[int, int, NodeId], path: Path, riders: Sequence[Carried], codec_s: float
) -> Crossing:
    nbytes = sum(one.nbytes for one in riders)
    return Crossing(
        sender=stage_name(ends[0]),
        receiver=stage_name(ends[1]),
        source=route.nodes[ends[0]],
        target=ends[2],
        tensors=tuple(prices.table.names[one.tensor] for one in riders),
        codecs=tuple(one.codec for one in riders),
        nbytes=nbytes,
        propagation_s=path.propagation_s,
        transfer_s=nbytes * path.s_per_byte,
        codec_s=codec_s,
        software_s=route.message_s + nbytes * route.message_s_per_byte,
    )


def _error(prices: Prices, carried: Iterable[Carried]) -> float:
    """Sum of what each tensor's codec alone does to the outputs: errors are small, so they add at worst."""
    figures = prices.problem.profile.tensors
    names = prices.table.names
    lossy = [figures[names[one.tensor]].get(one.codec) for one in carried if one.codec != "raw"]
    return sum(figure.error for figure in lossy if figure is not None)
