"""What happened to requests around a change, from when each was due and answered and in which epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.lab.driver import Asked


def read(plain: Sequence[Mapping[str, Any]]) -> list[Asked]:
    """Requests as the lab's driver tells them."""
    return [Asked(**one) for one in plain]


def percentile_s(asked: Sequence[Asked], percent: float) -> float:
    """A percentile of their latencies; NaN for none."""
    return float(np.percentile([one.latency_s for one in asked], percent)) if asked else float("nan")


@dataclass(frozen=True, slots=True)
class Move:
    """One switch: when the cause came, it was decided on, the next request went there, and one of those was answered.

    All in seconds since 1970.
    """

    cause_s: float
    decided_s: float
    sent_s: float
    answered_s: float
    was_warm: bool
    epoch: int


def move_after(cause_s: float, history: Sequence[Mapping[str, Any]], asked: Sequence[Asked]) -> Move | None:
    """The first switch after a cause, from the controller's notes and the answers; None if there was none."""
    switch = next((one for one in history if one["what"] == "switch" and one["at_s"] > cause_s), None)
    if switch is None:
        return None
    opened = [one["at_s"] for one in history if one["what"] == "open" and one["epoch"] == switch["epoch"]]
    decided_s = min([at_s for at_s in opened if at_s > cause_s], default=switch["at_s"])
    new = [one for one in asked if one.epoch == switch["epoch"] and one.sent_s > decided_s]
    if not new:
        return None
    sent_s, answered_s = min(one.sent_s for one in new), min(one.done_s for one in new)
    return Move(cause_s, decided_s, sent_s, answered_s, was_warm=decided_s == switch["at_s"], epoch=switch["epoch"])
