"""What the special solvers can't express: energy, money, deadlines, an error budget, memory, data that comes back down.

Question. The plan that is best by `problem.objective` within `problem.limits`, over rows of sites: ascending tiers, or,
if not `forward_only`, any sequence of up to `most_stages` sites. Answer. Each row is a mixed integer program whose
relaxation is nearly a minimum cut (row_program.py); rows are asked in the order of a bound that needs no search, each
only for what beats the best plan known, which at first are minimum cuts' (mincut.py). Rows left when the time is up
keep their bounds, so that a gap is always told. Exact over one codec a tensor, from those admissible.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from partitioner.constraints import violation
from partitioner.cost import price_stages, without_segments
from partitioner.figures import score
from partitioner.plan import Certificate, Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.search.chains import Chain, chains_of, returning_chains
from partitioner.search.explain import reason, unsplit_plans, why_none
from partitioner.search.mincut import best_per_chain
from partitioner.search.questions import OBJECTIVE_OF, beyond, check_question
from partitioner.search.row_program import RowProgram
from partitioner.stages import Placed, codecs_of, stages_of
from partitioner.tables import RAW, Prices, price_list

CLOSE = 1e-9
ROUNDING = 1e-12
SECONDS = 20.0
MOST_STAGES = 3
LEAST_S = 0.05  # for a row, however little is left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A plan found: stages, codecs of what they send, and its price under the additive model."""

    placed: tuple[Placed, ...]
    codecs: Mapping[str, str]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    candidates: tuple[_Candidate, ...]  # the best of each row, best first
    bound: float
    rows: int
    asked: int


def best(problem: Problem, *, seconds: float = SECONDS, most_stages: int = MOST_STAGES) -> Plan | Infeasible:
    """The best plan by the problem's objective within its limits, with bound and gap; Infeasible names what binds.

    It takes `seconds` of the solver's own time at most. Searched under the additive model; where segments were timed
    each row's best is priced by them. InvalidProblem for a question that can't be asked: watts or prices absent.
    """
    check_question(problem)
    additive = without_segments(problem)
    prices = price_list(additive)
    chains = chains_of(prices) if problem.forward_only else returning_chains(prices, most_stages)
    measured = any(engine.segment_s for engine in problem.profile.engines.values())
    found = _search(prices, chains, _known(prices), seconds=seconds, keep_all=measured)
    if not measured and not found.candidates:
        return _why(prices, chains, found, seconds=seconds)
    seen = [(one, found) for one in found.candidates]
    loose = replace(prices, problem=replace(additive, limits=Limits(error=problem.limits.error)))
    if measured and loose.problem.limits != problem.limits:
        seen += _beyond_sums(problem, loose, chains, seconds)
    if not seen:
        return _why(prices, chains, found, seconds=seconds)
    plans = [price_stages(price_list(problem), one.placed, one.codecs) for one, _ in seen]
    kept = [i for i, plan in enumerate(plans) if violation(problem, plan) is None]
    if not kept:
        return _none_measured(problem, plans)
    at = min(kept, key=lambda i: _score(plans[i], problem.objective))
    plans[at] = _plainly_coded(problem, seen[at][0].placed, plans[at])
    return _told(problem, seen[at], plans[at], [plans[i] for i in kept])


def _beyond_sums(
    problem: Problem, loose: Prices, chains: Sequence[Chain], seconds: float
) -> list[tuple[_Candidate, _Found]]:
    """Plans that sums of operators would rule out, but segments may keep: the best of each row without the limits.

    By the objective; and by each figure that is limited, for those that come close to a limit.
    """
    whole = _search(loose, chains, _known(loose), seconds=seconds, keep_all=True)
    found = list(whole.candidates)
    for name, objective in OBJECTIVE_OF.items():
        if getattr(problem.limits, name) is not None and objective not in ("error", problem.objective):
            asked = _asking(loose, objective)
            for one in _search(asked, chains, _known(asked), seconds=seconds, keep_all=True).candidates:
                priced = _priced(loose, one.placed, one.codecs)
                found += [priced] if priced is not None else []
    return [(one, whole) for one in found]


def _none_measured(problem: Problem, plans: Sequence[Plan]) -> Infeasible:
    """The limit that most plans break, by the segments measured, and the least that one of them takes."""
    refused = [one for plan in plans if (one := violation(problem, plan)) is not None]
    constraint = Counter(one.constraint for one in refused).most_common(1)[0][0]
    for name, objective in OBJECTIVE_OF.items():
        limit = getattr(problem.limits, name)
        if objective == constraint and limit is not None:
            least = min(_score(plan, objective) for plan in plans)
            detail = beyond(name, limit, least, proven=False)
            return Infeasible(constraint=constraint, detail=detail, proven=False)
    return replace(next(one for one in refused if one.constraint == constraint), proven=False)


def _plainly_coded(problem: Problem, placed: tuple[Placed, ...], plan: Plan) -> Plan:
    """The plan with each codec that the objective and the limits have no use for taken back, if that is no slower."""
    prices, codecs = price_list(problem), codecs_of(plan)
    for name in [name for name, codec in codecs.items() if codec != RAW]:
        trial = price_stages(prices, placed, codecs | {name: RAW})
        as_good = _score(trial, problem.objective) <= _score(plan, problem.objective) * (1 + ROUNDING)
        if as_good and trial.predicted.latency_s <= plan.predicted.latency_s and violation(problem, trial) is None:
            plan, codecs = trial, codecs | {name: RAW}
    return plan


def _score(plan: Plan, objective: str) -> float:
    value = score(plan.predicted, objective)
    return np.inf if value is None else value


def _known(prices: Prices) -> list[_Candidate]:
    """The minimum cuts' plans that are within the limits, as they are coded or raw."""
    problem = prices.problem
    plain = replace(problem, objective="latency", limits=Limits(), forward_only=True)
    found = []
    for plan in best_per_chain(plain):
        placed, codecs = stages_of(problem, plan), codecs_of(plan)
        for chosen in (codecs, dict.fromkeys(codecs, RAW)):
            candidate = _priced(prices, placed, chosen)
            if candidate is not None:
                found.append(candidate)
    return found


def _search(
    prices: Prices, chains: Sequence[Chain], known: Sequence[_Candidate], *, seconds: float, keep_all: bool = False
) -> _Found:
    """The best of each row; rows whose bound reaches the best known are left, unless all are to be kept."""
    problem = prices.problem
    queue = sorted(((_bound(problem, chain), i) for i, chain in enumerate(chains)))
    best = {tuple(site for site, _ in one.placed): one for one in sorted(known, key=lambda one: -one.score)}
    bound, asked, left_s = np.inf, 0, seconds
    for row_bound, number in queue:
        incumbent = min((one.score for one in best.values()), default=np.inf)
        chain = chains[number]
        own = best.get(chain.sites)
        below = min(own.score if own is not None else np.inf, np.inf if keep_all else incumbent) * (1 - CLOSE / 2)
        if row_bound >= incumbent * (1 - CLOSE) and not keep_all:
            break
        if left_s <= 0:
            bound = min(bound, row_bound)
            continue
        program = RowProgram(prices, chain)
        answer = program.solve(problem.objective, problem.limits, below=below, seconds=max(left_s, LEAST_S))
        left_s -= answer.seconds
        asked += 1
        bound = min(bound, max(answer.bound, row_bound))
        candidate = None if answer.placed is None else _priced(prices, answer.placed, answer.codecs)
        if candidate is not None and (own is None or candidate.score < own.score):
            best[chain.sites] = candidate
    candidates = tuple(sorted(best.values(), key=lambda one: one.score))
    least = candidates[0].score if candidates else np.inf
    return _Found(candidates=candidates, bound=min(bound, least), rows=len(chains), asked=asked)


def _priced(prices: Prices, placed: tuple[Placed, ...], codecs: Mapping[str, str]) -> _Candidate | None:
    """The row's answer by the evaluator; None if that breaks a limit, which only rounding could make it do."""
    plan = price_stages(prices, placed, codecs)
    if violation(prices.problem, plan) is not None:
        return None
    return _Candidate(placed=placed, codecs=codecs_of(plan), score=_score(plan, prices.problem.objective))


def _bound(problem: Problem, chain: Chain) -> float:
    """No plan of the row is better: each operator at its cheapest place, and what every message pays."""
    sites = chain.sites
    if problem.objective == "latency":
        return chain.bound_s
    if problem.objective == "throughput":
        return float(chain.seconds.min(axis=1).max(initial=0.0))
    if problem.objective == "error":
        return 0.0
    nodes = [problem.topology.node(site.node) for site in sites]
    energy = problem.objective == "energy"
    rates = [node.active_w if energy else (node.usd_per_hour or 0.0) / 3600 for node in nodes]
    spent = np.where(np.isfinite(chain.seconds), chain.seconds, 0.0) * np.array([rate or 0.0 for rate in rates])
    return float(np.where(np.isfinite(chain.seconds), spent, np.inf).min(axis=1).sum())


def _told(problem: Problem, seen: tuple[_Candidate, _Found], plan: Plan, plans: Sequence[Plan]) -> Plan:
    chosen, found = seen
    gap = max(0.0, 1 - found.bound / chosen.score) if chosen.score else 0.0
    optimal = gap <= CLOSE
    certificate = Certificate(
        status="optimal" if optimal else "gap",
        objective=problem.objective,
        cost_model=problem.cost_model,
        lower_bound=min(found.bound, chosen.score),
        gap=0.0 if optimal else gap,
        method=f"mixed integer programs of {found.asked} of {found.rows} rows of sites, the others closed by bounds",
    )
    unsplit = unsplit_plans(problem, plans)
    return replace(
        plan,
        certificate=certificate,
        unsplit_s={node: None if one is None else one.predicted.latency_s for node, one in unsplit.items()},
        reason=reason(problem, plan, plans, all_seen=found.asked == found.rows),
    )


def _why(prices: Prices, chains: Sequence[Chain], found: _Found, *, seconds: float) -> Infeasible:
    """Which limit leaves nothing: one that no plan keeps even alone, or all together; else what any plan must obey."""
    problem = prices.problem
    limits = problem.limits
    if found.bound < np.inf:
        detail = f"in {seconds:g} s of solving no plan was found that keeps the limits, nor that there is none"
        return Infeasible(constraint="limits", detail=f"{detail}; give it more time", proven=False)
    free = replace(prices, problem=replace(problem, limits=Limits()))
    for name in [one.name for one in fields(limits) if getattr(limits, one.name) is not None]:
        alone = _search(_asking(free, OBJECTIVE_OF[name]), chains, (), seconds=seconds)
        if not alone.candidates and alone.bound == np.inf:
            return why_none(free)
        limit, least = getattr(limits, name), alone.bound
        if name == "throughput_per_s":
            limit = 1 / limit
        if least > limit * (1 + CLOSE):
            return Infeasible(constraint=OBJECTIVE_OF[name], detail=beyond(name, getattr(limits, name), least))
    if limits.none:
        return why_none(prices)
    asked = {one.name: getattr(limits, one.name) for one in fields(limits)}
    told = ", ".join(f"{name} {value:g}" for name, value in asked.items() if value is not None)
    return Infeasible(
        constraint="limits", detail=f"no plan keeps all of these at once, though each can be kept alone: {told}"
    )


def _asking(prices: Prices, objective: str) -> Prices:
    return replace(prices, problem=replace(prices.problem, objective=objective))
