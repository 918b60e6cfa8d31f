"""Models told in the protocol's words: metadata, configuration, statistics, the repository's index.

Plain values: JSON takes them as they are, gRPC's messages are read from the same.
"""

from collections.abc import Iterable
from typing import Any

from nodes.backend import TensorSpec
from nodes.batching import LOWEST, NORMAL
from nodes.code_version import code_version
from orchestrator.gateway.datatypes import DATATYPE_OF
from orchestrator.gateway.models import PLATFORM, Model, shape_of
from orchestrator.gateway.statistics import Counted, Span

EXTENSIONS = (
    "classification", "model_configuration", "model_repository", "statistics", "system_shared_memory",
    "binary_tensor_data", "parameters", "sequence",
)  # fmt: skip
NO_CACHE = ("cache_hit", "cache_miss")


def server() -> dict[str, Any]:
    """The server's metadata."""
    return {"name": PLATFORM, "version": code_version(), "extensions": list(EXTENSIONS)}


def metadata(model: Model) -> dict[str, Any]:
    """A model's."""
    return {
        "name": model.name,
        "versions": [str(version) for version in model.versions],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in (*model.inputs, *_kept(model))],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def _kept(model: Model) -> tuple[TensorSpec, ...]:
    """Inputs of a sequence's first request only."""
    return () if model.sequence is None else model.sequence.kept


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": DATATYPE_OF.get(spec.dtype, spec.dtype), "shape": shape_of(spec)}


def config(model: Model) -> dict[str, Any]:
    """A model's configuration. 0 as the largest batch: shapes are whole as they are told, rows included.

    Else they are told without the rows.
    """
    rules = model.rules
    is_batched = rules.max_batch > 1
    batching = {
        "preferred_batch_size": list(rules.preferred),
        "max_queue_delay_microseconds": round(rules.max_delay_s * 1e6),
        "priority_levels": LOWEST,
        "default_priority_level": NORMAL,
    }
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": rules.max_batch if is_batched else 0,
        "input": [
            *(_configured(spec, is_batched) for spec in model.inputs),
            *(_configured(spec, is_batched) | {"optional": True} for spec in _kept(model)),
        ],
        "output": [_configured(spec, is_batched) for spec in model.outputs],
        **(
            {"sequence_batching": {"max_sequence_idle_microseconds": round(model.sequence.idle_s * 1e6), "direct": {}}}
            if model.sequence is not None
            else {"dynamic_batching": batching}
            if is_batched
            else {}
        ),
        "model_transaction_policy": {"decoupled": False},
    }


def _configured(spec: TensorSpec, is_batched: bool) -> dict[str, Any]:
    kind = DATATYPE_OF.get(spec.dtype, "INVALID")
    return {
        "name": spec.name,
        "data_type": f"TYPE_{'STRING' if kind == 'BYTES' else kind}",
        "dims": shape_of(spec)[is_batched:],
    }


def statistics(counted: Iterable[tuple[str, int, Counted]]) -> dict[str, Any]:
    """What was counted of each version of each model."""
    return {"model_stats": [_statistics(*each) for each in counted]}


def _statistics(name: str, version: int, counted: Counted) -> dict[str, Any]:
    spans = counted.spans | {part: Span() for part in NO_CACHE}
    return {
        "name": name,
        "version": str(version),
        "last_inference": counted.last_ms,
        "inference_count": counted.inferences,
        "execution_count": counted.executions,
        "inference_stats": {part: _span(span) for part, span in spans.items()},
        "batch_stats": [
            {"batch_size": rows} | {part: _span(span) for part, span in parts.items()}
            for rows, parts in sorted(counted.batches.items())
        ],
    }


def _span(span: Span) -> dict[str, int]:
    return {"count": span.count, "ns": span.ns}


def index(models: Iterable[tuple[Model, bool]]) -> list[dict[str, str]]:
    """The repository's index: each model with whether it is ready."""
    return [
        {
            "name": model.name,
            "version": str(model.version),
            "state": "READY" if is_ready else "UNAVAILABLE",
            "reason": "" if is_ready else "no healthy epoch to send requests to",
        }
        for model, is_ready in models
    ]
