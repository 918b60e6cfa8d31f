"""Figures of simulations in words: what a name means, how a value is told, and what callers give as estimates.

The unit is the end of the name, as in simulations.results. Nothing here draws, and nothing is estimated here.
"""

from collections.abc import Callable, Mapping, Sequence
from math import floor, inf, isnan, log10

from isthmus.plot import units
from isthmus.simulation_units import told as estimate_told
from simulations import statistics
from simulations.results import Results
from simulations.statistics import Estimate

Estimates = Mapping[str, Estimate]
Given = Mapping[str, Estimate | tuple[float, float | None]]  # a tuple is a mean, and half of the interval if known
Swept = Sequence[tuple[str, Given] | tuple[str, Results, Given]]  # label and figures of each scenario
Point = tuple[str, Estimates]
NONE = "–"
MAIN = (
    "asked", "answered_per_s", "latency_mean_s", "radio_s", "queue_s", "compute_s", "transfer_s", "other_s",
    "latency_p50_s", "latency_p95_s", "latency_p99_s", "missed_share", "failed_share", "sent_bytes", "tries",
)  # fmt: skip
WHOLE = ("switches", "handovers", "radios_woken", "energy_j", "ue_j", "mec_j", "cloud_j", "wires_j", "cost_usd",
         "machines_usd", "wires_usd")  # fmt: skip
PLACES = ("utilisation", "refused", "up_load", "down_load")
_WORDS = {
    "asked": "requests asked", "answered_per_s": "answered", "latency_mean_s": "mean latency",
    "latency_p50_s": "latency, median", "latency_p95_s": "latency, p95", "latency_p99_s": "latency, p99",
    "radio_s": "of the mean: radio", "queue_s": "of the mean: queues", "compute_s": "of the mean: compute",
    "transfer_s": "of the mean: transfer", "other_s": "of the mean: waiting, attempts in vain",
    "missed_share": "no answer in time", "failed_share": "failed", "sent_bytes": "sent per answer",
    "tries": "tries per answer", "radios_woken": "radios woken from idle", "energy_j": "energy",
    "ue_j": "energy of users' devices", "mec_j": "energy of edge machines", "cloud_j": "energy of cloud machines",
    "wires_j": "energy of wires", "cost_usd": "cost", "machines_usd": "cost of machines",
    "wires_usd": "cost of wires", "up_load": "uplink load", "down_load": "downlink load",
}  # fmt: skip


def known(results: Results, given: Given | None) -> Estimates:
    """The figures that were given or, if none were, means over replications with their 95 % intervals."""
    return statistics.estimates(results) if given is None else estimates_of(given)


def estimates_of(given: Given) -> Estimates:
    """Tuples as estimates."""
    return {name: one if isinstance(one, Estimate) else _estimate(*one) for name, one in given.items()}


def _estimate(mean: float, half: float | None) -> Estimate:
    counted = 0 if isnan(mean) else 1 if half is None else 2
    return Estimate(mean=mean, half=half, std_error=None, counted=counted, left_out=0)


def points_of(sweep: Swept | None) -> list[Point]:
    """A sweep's labels with their figures."""
    return [(each[0], estimates_of(each[-1])) for each in sweep or ()]


def mean_of(figures: Estimates, figure: str) -> float:
    """NaN for a figure that is not there."""
    return figures[figure].mean if figure in figures else float("nan")


def named(figure: str) -> str:
    """A figure in words: "latency_p99_s" is "latency, p99"; one that is not known keeps its name."""
    owner, _, last = figure.rpartition(".")
    told = _WORDS.get(last, last.replace("_", " "))
    return f"{owner}: {told}" if owner else told


def value_told(figure: str, value: float) -> str:
    """A value with the unit that the end of the figure's name says; a dash for what is not there."""
    if isnan(value):
        return NONE
    if value < 0:
        return f"-{value_told(figure, -value)}"
    if value == inf:
        return "∞"
    for ending, told in _TOLD.items():
        if figure.endswith(ending):
            return told(value)
    return units.digits(value)


def share_told(value: float) -> str:
    """Such as "18 %", "0.35 %"; NaN is a dash."""
    return NONE if isnan(value) else f"{units.digits(value * 100)} %"


def joules(value: float) -> str:
    """Such as "44 J", "5.09 kJ", "31.7 kJ"."""
    for scale, unit in ((1e9, "GJ"), (1e6, "MJ"), (1e3, "kJ")):
        if value >= scale * 0.9995:
            return f"{units.digits(value / scale)} {unit}"
    return f"{units.digits(value)} J"


def dollars(value: float) -> str:
    """Such as "$12.3", "$0.025", "$0.0000227"."""
    if value >= 0.01 or value < 1e-9:
        return f"${units.digits(value)}" if value >= 1e-9 else "$0"
    return f"${value:.{2 - floor(log10(value))}f}".rstrip("0")


# The longest ending that fits comes first.
_TOLD: dict[str, Callable[[float], str]] = {
    "bits_per_s": lambda value: units.mbps(value / 8),
    "_per_s": lambda value: f"{units.digits(value)}/s",
    "_s": units.seconds,
    "_share": share_told,
    "utilisation": share_told,
    "_load": share_told,
    "_j": joules,
    "_usd": dollars,
    "_bytes": units.nbytes,
}

__all__ = ["Estimate", "Estimates", "Given", "Point", "Swept", "estimate_told"]
