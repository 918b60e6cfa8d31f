"""A plan as the JSON object that `isthmus plan --json` prints. Only crossings between nodes are listed."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from partitioner.plan import Certificate, Crossing, Plan, Predicted, Stage
from partitioner.search.alternatives import Alternative
from partitioner.search.atlas import Atlas
from partitioner.search.pareto import Front


def plan_to_json(plan: Plan, *, objective: str = "latency") -> dict[str, Any]:
    """Plain values, seconds and bytes; None where watts or prices are absent.

    Stages, crossings and `local_s` (messages between stages of one node) add up to `latency_s`.
    """
    return {
        "id": plan_id(plan),
        "objective": objective,
        "predicted": _predicted(plan.predicted),
        "stages": [_stage(stage) for stage in plan.stages],
        "crossings": [_crossing(crossing) for crossing in plan.crossings if crossing.source != crossing.target],
        "local_s": sum(crossing.seconds for crossing in plan.crossings if crossing.source == crossing.target),
        "certificate": None if plan.certificate is None else _certificate(plan.certificate),
        "unsplit": dict(plan.unsplit_s),
        "split": plan.is_split,
        "reason": plan.reason,
        "model": plan.model,
        "parallel": plan.parallel,
    }


def plan_id(plan: Plan) -> str:
    """Twelve hexadecimal digits of what a plan does: equal for plans that differ in figures alone."""
    told = [
        [[s.name, s.node, s.backend, s.precision, s.operators, s.replicas] for s in plan.stages],
        [[c.sender, c.receiver, c.tensors, c.codecs] for c in plan.crossings],
    ]
    return sha256(json.dumps(told).encode()).hexdigest()[:12]


def _predicted(predicted: Predicted) -> dict[str, Any]:
    return {
        "latency_s": predicted.latency_s,
        "throughput_per_s": predicted.throughput_per_s,
        "energy_j": predicted.energy_j,
        "cost_usd": predicted.cost_usd,
        "error": predicted.error,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "node": stage.node,
        "backend": stage.backend,
        "precision": stage.precision,
        "operators": list(stage.operators),
        "seconds": stage.seconds,
        "measured": stage.measured,
        "std_s": stage.std_s,
        "weights_bytes": stage.weights_bytes,
        "replicas": list(stage.replicas),
    }


def _crossing(crossing: Crossing) -> dict[str, Any]:
    """`codec` is the one that all tensors share, else theirs in the order of `tensors`, joined by commas."""
    shared = dict.fromkeys(crossing.codecs)
    return {
        "from": crossing.source,
        "to": crossing.target,
        "tensors": list(crossing.tensors),
        "codec": next(iter(shared)) if len(shared) == 1 else ",".join(crossing.codecs),
        "bytes": crossing.nbytes,
        "seconds": crossing.seconds,
        "propagation_s": crossing.propagation_s,
        "transfer_s": crossing.transfer_s,
        "codec_s": crossing.codec_s,
        "software_s": crossing.software_s,
        "sender": crossing.sender,
        "receiver": crossing.receiver,
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "status": certificate.status,
        "objective": certificate.objective,
        "cost_model": certificate.cost_model,
        "lower_bound": certificate.lower_bound,
        "gap": certificate.gap,
        "method": certificate.method,
    }


def front_to_json(front: Front) -> dict[str, Any]:
    """A front as plain values: its plans by ascending first objective, and whether it is all of it."""
    plans = [plan_to_json(plan, objective=front.objectives[0]) for plan in front.plans]
    return {"objectives": list(front.objectives), "complete": front.complete, "plans": plans}


def alternatives_to_json(found: Sequence[Alternative]) -> list[dict[str, Any]]:
    """Plans that were not taken, best first: what is different, the score (small is good), the plan."""
    return [{"change": one.change, "score": one.score, "plan": plan_to_json(one.plan)} for one in found]


def atlas_to_json(atlas: Atlas) -> dict[str, Any]:
    """An atlas as plain values: each entry's latency is `fixed_s` + `link_bytes` / goodput."""
    return {
        "link": list(atlas.ends),
        "low_bytes_per_s": atlas.low,
        "high_bytes_per_s": atlas.high,
        "gap": atlas.gap,
        "entries": [
            {
                "from_bytes_per_s": entry.from_bytes_per_s,
                "fixed_s": entry.fixed_s,
                "link_bytes": entry.link_bytes,
                "plan": plan_to_json(entry.plan),
            }
            for entry in atlas.entries
        ],
    }
