"""Whether one scenario really does better than another: paired differences under common random numbers.

In each replication both had the same luck, so its difference is one value, and Student's t over these says whether
their mean is other than nought. Looking at many figures finds something by chance, so the verdicts on the main ones are
Holm's (Scandinavian Journal of Statistics 6, 1979): "real" of any of them is wrong 5 times in 100 at most. The others
get no verdict. An interval is its own figure's alone: it may lie off nought where the verdict is "not shown".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from simulations.errors import SimulationsError
from simulations.results import Results
from simulations.statistics import CONFIDENCE, Estimate, chance_beyond, estimate

MAIN = (
    "latency_mean_s", "latency_p50_s", "latency_p95_s", "latency_p99_s", "missed_share", "failed_share", "energy_j",
    "cost_usd", "switches",
)  # fmt: skip
Verdict = Literal["real", "not shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure in both, in its own unit. `difference` is the second less the first, over the replications of both."""

    figure: str
    first: Estimate
    second: Estimate
    difference: Estimate
    verdict: Verdict | None = None  # None: not a main figure


def compare(first: Results, second: Results) -> tuple[Difference, ...]:
    """Every figure that both have, in the order of the first. SimulationsError if they did not have the same luck."""
    _refuse_other_luck(first, second)
    there = second.outcomes[0].figures if second.outcomes else {}
    names = [name for name in (first.outcomes[0].figures if first.outcomes else ()) if name in there]
    found = [_difference(name, first.values(name), second.values(name)) for name in names]
    real = holm({one.figure: chance(one.difference) for one in found if one.figure in MAIN})
    return tuple(
        replace(one, verdict="real" if one.figure in real else "not shown") if one.figure in MAIN else one
        for one in found
    )


def chance(difference: Estimate) -> float:
    """How likely a mean that far off would be if there were no difference; 1 if fewer than two pairs are known."""
    if difference.std_error is None:
        return 1.0
    if difference.std_error == 0:
        return 1.0 if difference.mean == 0 else 0.0
    return chance_beyond(difference.mean / difference.std_error, difference.counted - 1)


def holm(chances: Mapping[str, float], *, confidence: float = CONFIDENCE) -> frozenset[str]:
    """The names whose chance is too small for chance: the smallest against α/m, the next against α/(m-1), and so on."""
    real: list[str] = []
    for name in sorted(chances, key=lambda each: chances[each]):
        if chances[name] > (1 - confidence) / (len(chances) - len(real)):
            break
        real.append(name)
    return frozenset(real)


def _difference(name: str, before: tuple[float, ...], after: tuple[float, ...]) -> Difference:
    apart = [new - old for old, new in zip(before, after, strict=True)]
    return Difference(figure=name, first=estimate(before), second=estimate(after), difference=estimate(apart))


def _refuse_other_luck(first: Results, second: Results) -> None:
    pair = f"{first.scenario.name} and {second.scenario.name}"
    seeds = first.scenario.seed, second.scenario.seed
    if seeds[0] != seeds[1]:
        raise SimulationsError(f"{pair} had other luck: seeds {seeds[0]} and {seeds[1]}; run both with the same seed")
    had, has = ([outcome.replication for outcome in one.outcomes] for one in (first, second))
    if had != has:
        raise SimulationsError(
            f"{pair} can't be paired: {len(had)} and {len(has)} replications, {had} and {has}; run as many of each"
        )
