"""Whether a new version may take over from the old one: a judgement on what both did with the requests they got.

It looks at error rates, latencies and how far answers differ, and says promote, roll back or wait, with the reason.
It splits no traffic and knows no epochs. Called again and again as counts grow, so its tests are for being looked at
often: failures by a mixture martingale, which holds at every moment (Ville's inequality; Robbins 1970), latencies by
distribution-free bounds of a quantile (Hahn and Meeker 1991, chapter 5) at three and a third standard deviations.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, erf, exp, floor, inf, lgamma, log, sqrt

CERTAINTY = 0.05  # the part of equal versions that may be rolled back for their failures, however often one looks
Z = 3.3  # standard deviations by which a quantile's rank may be off
LEAST_COMPARED = 20  # answers compared, before their mean difference says anything
QUANTILES = ((0.5, "median"), (0.95, "95th percentile"))
GAMMA = 1.02 / 0.98  # between two latencies that are told apart: a quantile is within 2 % (DDSketch, Masson 2019)
EXACT = 2000  # failures up to which a binomial tail is summed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a version did: attempts answered, those failed by reason, latencies by `bucket`, answers compared.

    `drift_sum` adds up relative differences of answers to those of the other version, `disagreed` the parts of labels
    (largest along the last axis) that differ.
    """

    answered: int = 0
    failed: tuple[tuple[str, int], ...] = ()
    latencies: tuple[tuple[int, int], ...] = ()
    compared: int = 0
    drift_sum: float = 0.0
    drift_max: float = 0.0
    disagreed: float = 0.0

    @property
    def failures(self) -> int:
        """Attempts that failed, for whatever reason."""
        return sum(count for _, count in self.failed)

    @property
    def requests(self) -> int:
        """Attempts that ended."""
        return self.answered + self.failures

    @property
    def error_rate(self) -> float:
        """The part that failed; 0 of none."""
        return self.failures / self.requests if self.requests else 0.0

    @property
    def drift(self) -> float:
        """Mean relative difference of the answers compared; 0 of none."""
        return self.drift_sum / self.compared if self.compared else 0.0

    @property
    def disagreement(self) -> float:
        """The part of labels that differ; 0 of none."""
        return self.disagreed / self.compared if self.compared else 0.0


@dataclass(frozen=True, slots=True)
class Promote:
    """The new version is as good as the terms want it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """The new version is worse than the terms allow, with certainty."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not known yet; the reason says what is missing."""

    reason: str


def judge(
    *,
    old: Tally,
    new: Tally,
    age_s: float,
    max_error_rate: float = 0.01,
    max_slowdown: float = 1.2,
    max_drift: float | None = 0.1,
    max_disagreement: float | None = None,
    min_requests: int = 100,
    min_s: float = 10.0,
) -> Promote | Rollback | Wait:
    """What to do after `age_s` of both versions side by side.

    Rolled back as soon as it is certain: the new version fails more often than the old, its median or 95th percentile
    is above `max_slowdown` times the old one's, or its answers differ by more than `max_drift` or `max_disagreement`
    on average (None: by as much as they like). Promoted after `min_requests` and `min_s` if the figures as they are
    also keep to the terms, the error rate being above the old one's by `max_error_rate` at most.
    """
    fault = _fails_more(old, new) or _is_slower(old, new, max_slowdown)
    fault = fault or _differs(new, max_drift, max_disagreement)
    if fault:
        return Rollback(fault)
    is_compared = max_drift is not None or max_disagreement is not None
    if missing := _missing(old, new, age_s, min_requests, min_s, LEAST_COMPARED if is_compared else 0):
        return Wait(missing)
    if new.error_rate > old.error_rate + max_error_rate:
        return Wait(f"{_rates(old, new)}, which may be chance")
    for part, name in QUANTILES:
        if (now_s := quantile_s(new, part)) > max_slowdown * (before_s := quantile_s(old, part)):
            return Wait(f"{name} {_ms(now_s)} against {_ms(before_s)}, which may be chance")
    return Promote(f"after {new.requests} requests {_rates(old, new)}, {_latencies(old, new)}{_drift(new)}")


def bucket(seconds: float) -> int:
    """The number under which a latency is counted; neighbours differ by 4 %."""
    return ceil(log(max(seconds, 1e-6)) / log(GAMMA))


def quantile_s(tally: Tally, part: float) -> float:
    """The latency that this part of the answers did not exceed, within 2 %; 0 of none."""
    return _at_rank(tally, max(1, ceil(part * _timed(tally)))) if tally.latencies else 0.0


def merged(tallies: Iterable[Tally]) -> Tally:
    """Counts of several routers as one."""
    parts = tuple(tallies)
    failed, latencies = Counter[str](), Counter[int]()
    for part in parts:
        failed.update(dict(part.failed))
        latencies.update(dict(part.latencies))
    return Tally(
        answered=sum(part.answered for part in parts),
        failed=tuple(sorted(failed.items())),
        latencies=tuple(sorted(latencies.items())),
        compared=sum(part.compared for part in parts),
        drift_sum=sum(part.drift_sum for part in parts),
        drift_max=max((part.drift_max for part in parts), default=0.0),
        disagreed=sum(part.disagreed for part in parts),
    )


def evidence(old: Tally, new: Tally) -> float:
    """How many times better the failures are explained by the new version failing more than by both failing alike.

    If both fail alike, a failure falls on the new version with the probability w of its part of the requests. Against
    that stands every larger probability, evenly: ∫ over q from w to 1 of q^x (1-q)^y dq / ((1-w) w^x (1-w)^y), with x
    and y failures of the new and the old. Under the first this is a martingale of mean 1, so it ever reaches 20 with
    a probability of 1 in 20 at most.
    """
    x, y = new.failures, old.failures
    if not x or not old.requests:
        return 0.0
    w = new.requests / (new.requests + old.requests)
    if x <= w * (x + y):
        return 0.0
    log_beta = lgamma(x + 1) + lgamma(y + 1) - lgamma(x + y + 2)
    log_ratio = log_beta - log(1 - w) - x * log(w) - y * log(1 - w)
    return exp(min(log_ratio, 500.0)) * _at_most(x, x + y + 1, w)


def _missing(old: Tally, new: Tally, age_s: float, min_requests: int, min_s: float, least_compared: int) -> str:
    if new.requests < min_requests or old.requests == 0:
        return f"{new.requests} of {min_requests} requests, the old version {old.requests}"
    if age_s < min_s:
        return f"{age_s:.0f} s of {min_s:g} s"
    return "" if new.compared >= least_compared else f"{new.compared} of {least_compared} answers compared"


def _fails_more(old: Tally, new: Tally) -> str:
    if evidence(old, new) < 1 / CERTAINTY:
        return ""
    worst = max(new.failed, key=lambda one: one[1])
    return f"it fails more often: {_rates(old, new)}, most often by {worst[0]}"


def _is_slower(old: Tally, new: Tally, max_slowdown: float) -> str:
    """The least that a quantile of the new can be is above the most that the old one's can, times the tolerance."""
    for part, name in QUANTILES:
        least_s, most_s = _bound_s(new, part, -Z), _bound_s(old, part, Z)
        if least_s > max_slowdown * most_s:
            now, before = _ms(quantile_s(new, part)), _ms(quantile_s(old, part))
            return f"it is slower: {name} {now} against {before}, {max_slowdown:g} times that is allowed"
    return ""


def _differs(new: Tally, max_drift: float | None, max_disagreement: float | None) -> str:
    if new.compared < LEAST_COMPARED:
        return ""
    if max_drift is not None and new.drift > max_drift:
        return f"its answers differ by {new.drift:.1%} (at most {new.drift_max:.1%}), {max_drift:.1%} is allowed"
    if max_disagreement is not None and new.disagreement > max_disagreement:
        return f"{new.disagreement:.1%} of its labels differ, {max_disagreement:.1%} is allowed"
    return ""


def _at_most(count: int, draws: int, chance: float) -> float:
    """P(Bin(draws, chance) ≤ count); beyond EXACT draws by the normal distribution."""
    if draws > EXACT:
        off = (count + 0.5 - draws * chance) / sqrt(draws * chance * (1 - chance))
        return 0.5 * (1 + erf(off / sqrt(2)))
    steps = range(count + 1)
    fixed = lgamma(draws + 1)
    logs = [
        fixed - lgamma(k + 1) - lgamma(draws - k + 1) + k * log(chance) + (draws - k) * log(1 - chance) for k in steps
    ]
    return min(1.0, sum(exp(one) for one in logs))


def _bound_s(tally: Tally, part: float, z: float) -> float:
    """A bound of a quantile from the order statistics: below it for z < 0, above for z > 0; 0 and inf if not known."""
    count = _timed(tally)
    rank = part * count + z * sqrt(count * part * (1 - part))
    if z < 0:
        return _at_rank(tally, floor(rank)) if rank >= 1 else 0.0
    return _at_rank(tally, ceil(rank)) if ceil(rank) <= count and count else inf


def _at_rank(tally: Tally, rank: int) -> float:
    seen = 0
    for number, count in tally.latencies:
        seen += count
        if seen >= rank:
            return float(2 * GAMMA**number / (GAMMA + 1))
    return inf


def _timed(tally: Tally) -> int:
    return sum(count for _, count in tally.latencies)


def _rates(old: Tally, new: Tally) -> str:
    return f"{new.failures} of {new.requests} failed against {old.failures} of {old.requests}"


def _latencies(old: Tally, new: Tally) -> str:
    return f"median {_ms(quantile_s(new, 0.5))} against {_ms(quantile_s(old, 0.5))}"


def _drift(new: Tally) -> str:
    return f", answers differ by {new.drift:.2%}" if new.compared else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
