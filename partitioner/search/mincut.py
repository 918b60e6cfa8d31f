"""Which operators run where, so that one request alone is answered soonest: exact over ordered tiers.

Question. Sites of a chain s1…sk, one per tier at most, data going only up. Minimise Σ compute + Σ messages.

Answer. (1) A message's fixed seconds are paid once per stage that runs anything, which is not submodular when a
middle stage may be empty; so every chain (subset of tiers, one site each) is taken by itself, its fixed seconds
a constant. A plan that leaves a stage empty belongs to a shorter chain, searched as well. (2) Within a chain,
let x(v, j) say that operator v stands at position j or later. Data going up is x(u, j) ≤ x(v, j) for v reading
u; an operator's seconds telescope over its x; a tensor's bytes over boundary j are paid when its producer is
before j and some reader is not. These are unary terms, infinite arcs and "first minus any", all submodular, so
the minimum is a minimum cut (cut.py), exactly. Inputs start at the router, before position 1. One output's
return is a unary term; of several, the fixed part of a return is "any output here", which a cut holds for the
first and the last position; which middle stages may return is enumerated. (3) Encoding and decoding are paid
once however many boundaries a tensor crosses, under one codec end to end; with two positions that is still
"first minus any". With more it need not be submodular, so the cut holds a lower bound (terms.py), and branch
and bound (branch.py) closes what is left, as it does for memory limits and for a tensor decoded at several
stages. Every plan's price comes from cost.py alone; the certificate says what was proven.

Kolmogorov, Zabih: What energy functions can be minimized via graph cuts? (2004) and Ishikawa: Exact optimization for
Markov random fields with convex priors (2003) hold the construction for ordered labels.
"""

from collections.abc import Sequence
from dataclasses import replace

from partitioner.cost import additive_latency_s, price_stages
from partitioner.plan import Certificate, Infeasible, Plan
from partitioner.problem import Problem
from partitioner.search.branch import Candidate, Found, search, unsplit
from partitioner.search.chains import Chain, chains_of
from partitioner.search.explain import reason, unsplit_plans, why_none
from partitioner.search.prefixes import fitting
from partitioner.tables import Prices, price_list

EFFORT = 600_000  # vertices of all cuts before a gap is admitted; two or three seconds
CLOSE = 1e-9  # relative gap below which a plan counts as optimal


def solve(problem: Problem, *, effort: int = EFFORT) -> Plan | Infeasible:
    """The fastest forward-only plan, with its certificate, each node's unsplit seconds, and the reason.

    Searched under the additive model. Where segments were measured, every chain's best is priced by them and the
    fastest so priced is returned; the certificate then says how far its additive price is from the optimum.
    `effort` bounds the work. InvalidProblem for a question that cannot be asked.
    """
    prices = price_list(problem)
    chains = chains_of(prices)
    measured = any(engine.segment_s for engine in problem.profile.engines.values())
    found = _each(prices, chains, effort) if measured else _together(prices, chains, effort)
    if not found.candidates:
        found = fitting(prices, chains)
    if not found.candidates:
        return why_none(prices)
    plans = [price_stages(prices, one.placed) for one in found.candidates]
    at = min(range(len(plans)), key=lambda i: plans[i].predicted.latency_s)
    return replace(
        plans[at],
        certificate=_certificate(prices, found.candidates[at], found),
        unsplit_s={
            node: None if plan is None else plan.predicted.latency_s
            for node, plan in unsplit_plans(problem, plans).items()
        },
        reason=reason(problem, plans[at], plans),
    )


def best_per_chain(problem: Problem, *, effort: int = EFFORT) -> tuple[Plan, ...]:
    """The best plan of every chain of sites, unsplit ones included, fastest first; empty if nothing fits.

    These are the plans whose segments are worth measuring before one is chosen.
    """
    prices = price_list(problem)
    found = _each(prices, chains_of(prices), effort)
    plans = [price_stages(prices, one.placed) for one in found.candidates]
    return tuple(sorted(plans, key=lambda plan: plan.predicted.latency_s))


def _together(prices: Prices, chains: Sequence[Chain], effort: int) -> Found:
    """All chains against each other; one split is priced in any case, for the sake of the reason."""
    alone = unsplit(prices, chains)
    split = [chain for chain in chains if len(chain.sites) > 1]
    found = search(prices, split, effort=effort, known=alone)
    if not split or any(len(one.placed) > 1 for one in found.candidates):
        return found
    return _merge([found, search(prices, split[:1], effort=effort)], found.bound_s)


def _each(prices: Prices, chains: Sequence[Chain], effort: int) -> Found:
    """Every chain by itself, so that none is closed by another's price."""
    alone = unsplit(prices, chains)
    split = [chain for chain in chains if len(chain.sites) > 1]
    found = [Found(candidates=alone, bound_s=min((one.latency_s for one in alone), default=float("inf")), cuts=0)]
    found.extend(search(prices, [chain], effort=effort // len(split)) for chain in split)
    return _merge(found, min(one.bound_s for one in found))


def _merge(found: Sequence[Found], bound_s: float) -> Found:
    best: dict[object, Candidate] = {}
    for one in (candidate for part in found for candidate in part.candidates):
        known = best.get(one.sites)
        if known is None or one.latency_s < known.latency_s:
            best[one.sites] = one
    candidates = tuple(sorted(best.values(), key=lambda one: one.latency_s))
    return Found(candidates=candidates, bound_s=bound_s, cuts=sum(one.cuts for one in found))


def _certificate(prices: Prices, chosen: Candidate, found: Found) -> Certificate:
    latency_s = additive_latency_s(prices, chosen.placed)
    gap = max(0.0, 1 - found.bound_s / latency_s) if latency_s else 0.0
    optimal = gap <= CLOSE
    return Certificate(
        status="optimal" if optimal else "gap",
        objective="latency",
        cost_model=prices.problem.cost_model,
        lower_bound=min(found.bound_s, latency_s),
        gap=0.0 if optimal else gap,
        method=f"minimum cut per chain of sites, branch and bound: {found.cuts} cuts",
    )
