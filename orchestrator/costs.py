"""What each known plan takes, remembered: a forgetting mean of its latency under every observation of the links.

So a link that dips for a second moves nothing, and one that stays slow counts for more with every moment, also while
nothing new is heard of it. Pure: the time comes in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf

from orchestrator.plan_map import PlanMap, Rates
from policies.rebalance import MEMORY_S, remembered


@dataclass(slots=True)
class PlanCost:
    """Seconds of a request: the mean up to `at_s`, and what they are since."""

    mean_s: float
    newest_s: float
    at_s: float

    def at(self, now_s: float) -> float:
        """The mean now."""
        if self.newest_s == inf:
            return inf
        return self.newest_s + (self.mean_s - self.newest_s) * exp(-max(now_s - self.at_s, 0.0) / MEMORY_S)


def costs_of(plan_map: PlanMap, before: Mapping[str, PlanCost], rates: Rates, now_s: float) -> dict[str, PlanCost]:
    """Every plan's cost, by its key, once these links are known; one not known before begins with what it takes now."""
    costs = {}
    for known in plan_map.plans:
        newest = min(known.seconds(rates), plan_map.most_s)
        old = before.get(known.key)
        mean = newest if old is None else remembered(old.mean_s, old.newest_s, elapsed_s=max(now_s - old.at_s, 0.0))
        costs[known.key] = PlanCost(mean_s=mean, newest_s=newest, at_s=now_s)
    return costs
