"""What a simulation came to, as JSON: the same to the byte for the same seed, on any number of processes.

So nothing in it hangs on the machine or the time of day. What a replication does not have (NaN) is null.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from simulations.comparing import Difference
from simulations.results import Outcome, Results
from simulations.statistics import Estimate


def results_to_json(results: Results, found: Mapping[str, Estimate]) -> dict[str, Any]:
    """A scenario: its figures over replications, and each replication's own with its decisions."""
    scenario = results.scenario
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "duration_s": scenario.duration_s,
        "warmup_s": scenario.warmup_s,
        "remarks": list(scenario.remarks),
        "figures": {name: estimate_to_json(one) for name, one in found.items()},
        "replications": [_outcome(outcome) for outcome in results.outcomes],
    }


def estimate_to_json(found: Estimate) -> dict[str, Any]:
    """A mean with half of its 95 % interval's width, null if it has none."""
    return {
        "mean": _number(found.mean),
        "half_width": found.half,
        "counted": found.counted,
        "left_out": found.left_out,
    }


def comparison_to_json(first: Results, second: Results, found: Sequence[Difference]) -> dict[str, Any]:
    """Two scenarios by their names, and each figure in both; `verdict` is null but for the main figures."""
    return {
        "first": first.scenario.name,
        "second": second.scenario.name,
        "seed": first.scenario.seed,
        "replications": len(first.outcomes),
        "overloads": [sorted({line for one in each.outcomes for line in one.overloads}) for each in (first, second)],
        "figures": {
            one.figure: {
                "first": estimate_to_json(one.first),
                "second": estimate_to_json(one.second),
                "difference": estimate_to_json(one.difference),
                "verdict": one.verdict,
            }
            for one in found
        },
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "replication": outcome.replication,
        "requests": outcome.requests,
        "events": outcome.events,
        "overloads": list(outcome.overloads),
        "figures": {name: _number(value) for name, value in outcome.figures.items()},
        "decisions": [
            {"at_s": note.at_s, "deployment": note.deployment, "what": note.what, "epoch": note.epoch, "why": note.why}
            for note in outcome.notes
        ],
    }


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
