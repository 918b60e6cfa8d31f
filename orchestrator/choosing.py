"""Whether a known plan should replace the one that runs: the policy asked with what the core remembers of each."""

from collections.abc import Sequence
from math import inf

from orchestrator.knowledge import DeploymentRecord
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import KnownPlan, PlanMap, fingerprint, rates_of
from partitioner.latency_form import gain_std_s
from partitioner.topology import NodeId
from policies.rebalance import Candidate, Keep, Rule, Switch, rebalance

MOST_DOUBT = 0.2  # of a goodput that only probes have seen: more would keep a bad plan for want of traffic
COLD_S = 1.0  # what loading takes where nobody has measured it: a plan that stands by has that done


def choose(
    deployment: DeploymentRecord,
    plan_map: PlanMap,
    running: KnownPlan,
    links: Sequence[LinkEstimate],
    lost: Sequence[NodeId],
    now_s: float,
    *,
    min_gain: float,
    spacing_s: float,
    rule: Rule = rebalance,
) -> tuple[Switch | Keep, KnownPlan]:
    """The rule's decision, and the plan to go to (the running one where it is to stay)."""
    rates, std = rates_of(links), {link.ends: min(link.std, MOST_DOUBT) for link in links}
    ready = [fingerprint(one.plan) for one in deployment.epochs if one.story.state == "standby"]

    def doubt_s(known: KnownPlan) -> float:
        if known is running or inf in (known.seconds(rates), running.seconds(rates)):
            return 0.0
        return gain_std_s(running.form, known.form, rates, std, at_most=plan_map.most_s)

    def candidate(known: KnownPlan) -> Candidate:
        return Candidate(
            key=known.key,
            seconds=deployment.costs[known.key].at(now_s),
            gain_std=doubt_s(known),
            ready_s=0.0 if known.key in ready else COLD_S,
        )

    fit = [known for known in plan_map.plans if not any(node in lost for node in known.nodes)]
    decision = rule(
        current=candidate(running),
        others=[candidate(known) for known in fit if known is not running],
        allowed_in_s=deployment.switched_at_s + spacing_s - now_s,
        min_gain=min_gain,
    )
    to = decision.to if isinstance(decision, Switch) else running.key
    return decision, next(known for known in plan_map.plans if known.key == to)
