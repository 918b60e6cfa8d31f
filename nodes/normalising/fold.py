"""Folds constants with ONNX Runtime at its BASIC level, whose results every engine still reads."""

import tempfile
from pathlib import Path

import onnx

from nodes.backends import onnxruntime as backend
from nodes.errors import UnsupportedOperator
from partitioner.errors import InvalidModel


def fold(proto: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """An equal model with what depends on weights and shapes alone computed, and what is unused gone.

    UnsupportedOperator if ONNX Runtime lacks an operator; InvalidModel if it refuses the graph otherwise.
    """
    ort = backend.load().module
    with tempfile.TemporaryDirectory(prefix="isthmus-fold-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            ort.InferenceSession(proto.SerializeToString(), options, providers=list(backend.CPU))
        except Exception as error:
            mapped = backend.compile_error(str(error))
            if isinstance(mapped, UnsupportedOperator):
                raise _located(mapped, proto, label) from None
            raise InvalidModel(f"{label}: {mapped}") from None
        return onnx.load_model(options.optimized_model_filepath)


def _located(error: UnsupportedOperator, proto: onnx.ModelProto, label: str) -> UnsupportedOperator:
    """The error with the operator's name, or what it makes if it has none: engines often tell the type only."""
    kind = error.op_type.rpartition(":")[2]
    node = next((n for n in proto.graph.node if n.op_type == kind and error.operator in ("", n.name)), None)
    where = "" if node is None else f", {node.name!r}" if node.name else f", which makes {', '.join(node.output)!r}"
    return UnsupportedOperator(
        f"{label}: {error}{where if not error.operator else ''}; export the model without it",
        operator=error.operator or (node.name if node else ""),
        op_type=error.op_type,
        backend=error.backend,
    )
