"""The demo's outcome: as tables for people, as one object for programs, and the promises that it must keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rich.table import Table

from isthmus.demo.measure import Flow, Placement
from isthmus.demo.scenario import MAX_ERROR
from isthmus.render import milliseconds

PREDICTION_PROMISE = 0.35  # of a demo of a minute on a busy machine; benchmarks/prediction.py holds the tighter figure


@dataclass(slots=True)
class Outcome:
    """Everything that was seen."""

    slowdown: float = 1.0
    placements: list[Placement] = field(default_factory=list)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)
    differences: list[float] = field(default_factory=list)
    flow: Flow = field(default_factory=Flow)
    requests: int = 0
    split: dict[str, bool] = field(default_factory=dict)

    @property
    def prediction_error(self) -> float:
        """Mean of |predicted − measured| / measured over all placements that ran."""
        errors = [
            abs(p.predicted_s - p.measured_s) / p.measured_s
            for p in self.placements
            if p.predicted_s is not None and p.measured_s is not None
        ]
        return fmean(errors) if errors else 0.0

    @property
    def max_difference(self) -> float:
        """The largest difference of any answer to the whole model's."""
        return max(self.differences, default=0.0)

    def broken(self) -> list[str]:
        """The promises that were not kept, in words."""
        wrong = [name for name, (whole, split) in self.labels.items() if whole != split]
        found = []
        if wrong:
            found.append(f"another label than the whole model's: {', '.join(wrong)}")
        if self.max_difference > MAX_ERROR:
            found.append(f"outputs differ by {self.max_difference:.2e}, promised {MAX_ERROR}")
        if self.flow.lost:
            found.append(f"{self.flow.lost} requests lost: {self.flow.faults[0]}")
        if len(self.flow.decisions) < 2:
            found.append(f"{len(self.flow.decisions)} switches instead of 2")
        if not self.split.get("b"):
            found.append("case b does not split")
        if self.prediction_error > PREDICTION_PROMISE:
            found.append(f"predictions are off by {self.prediction_error:.0%}, promised {PREDICTION_PROMISE:.0%}")
        return found

    def to_json(self) -> dict[str, Any]:
        """One object for programs."""
        return {
            "slowdown": self.slowdown,
            "placements": [
                {
                    "case": p.case,
                    "name": p.name,
                    "predicted_p50_ms": None if p.predicted_s is None else p.predicted_s * 1e3,
                    "measured_p50_ms": None if p.measured_s is None else p.measured_s * 1e3,
                    "bytes_sent": p.bytes_sent,
                    "why_not": p.why_not or None,
                }
                for p in self.placements
            ],
            "labels": {name: list(pair) for name, pair in self.labels.items()},
            "max_difference": self.max_difference,
            "prediction_error": self.prediction_error,
            "requests": self.requests + self.flow.answered + self.flow.lost,
            "requests_lost": self.flow.lost,
            "switches": len(self.flow.decisions),
            "switch_ms": [decision.switch_s * 1e3 for decision in self.flow.decisions],
            "noticed_ms": [decision.noticed_s * 1e3 for decision in self.flow.decisions],
            "split": self.split,
            "broken_promises": self.broken(),
        }


def placements_table(placements: list[Placement]) -> Table:
    """Predicted and measured p50 of each way to place a case, with the bytes that a request sends."""
    table = Table("placement", "predicted p50", "measured p50", "bytes sent", box=None, pad_edge=True)
    for p in placements:
        style = "bold" if p.name == "plan" else None
        sent = "–" if p.bytes_sent is None else f"{p.bytes_sent:,}"
        table.add_row(p.name, milliseconds(p.predicted_s), milliseconds(p.measured_s), p.why_not or sent, style=style)
    return table


def labels_table(labels: Mapping[str, tuple[str, str]]) -> Table:
    """What the whole model and the split one see in each photograph."""
    table = Table("photograph", "whole model", "split", box=None, pad_edge=True)
    for name, (whole, split) in labels.items():
        table.add_row(name, whole, split)
    return table
