"""8-bit weights, activations scaled anew at each run: for transformers, whose activations no fixed scale suits.

Weights are signed with a scale a column. The few products that 8 bits hurt most stay float, judged on calibration
inputs, if there are any: each by the SQNR of its own output, rounded as the engine would, against the exact one.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from nodes.backend import Array
from nodes.options import Options
from nodes.variants.errors import NotPossible
from nodes.variants.errors_of import sqnr_db
from nodes.variants.pieces import array_of, copied, kept_float, tapped, weights_of
from nodes.variants.quiet import quiet
from nodes.variants.weight_only import halved_tables

FLOAT_SHARE = 1 / 12
JUDGED_ON = 8  # inputs; one product's SQNR hardly varies from input to input


def int8_dynamic(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """ONNX Runtime's dynamic quantiser. NotPossible for a model without matrix products with float weights.

    Options: `float_share` of the products that stay float32, the worst ones, where there are feeds; `keep_float`,
    operators that stay float32, commas between; `tables`, whether tables that Gather reads become 8 bits too.
    """
    share, tables = read.number("float_share", FLOAT_SHARE), read.switch("tables", True)
    kept = kept_float(core, read.text("keep_float", ""))
    found = [node for node in products(core) if node.name not in kept]
    if not found:
        raise NotPossible("the model has nothing to quantise: no MatMul or Gemm with float32 weights")
    if feeds:
        by_sqnr = _sqnr_of(core, found, feeds[:JUDGED_ON])
        kept += sorted(by_sqnr, key=by_sqnr.__getitem__)[: round(share * len(found))]
    with quiet("int8-dynamic"), tempfile.TemporaryDirectory(prefix="isthmus-int8-") as folder:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        target = Path(folder) / "model.onnx"
        quantize_dynamic(
            copied(core), target, ["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
            nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept)],  # what it makes of a Gemm is called so
        )  # fmt: skip
        made = onnx.load_model(target)
    return halved_tables(made) if tables else made


def products(core: ModelProto) -> list[NodeProto]:
    """MatMul and plain Gemm operators whose second input is a float32 weight of two dimensions."""
    weights = weights_of(core)
    fit = {name for name, one in weights.items() if one.data_type == TensorProto.FLOAT and len(one.dims) == 2}
    return [
        node
        for node in core.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in fit and not _attributes(node).get("transA")
    ]


def _sqnr_of(core: ModelProto, nodes: Sequence[NodeProto], feeds: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    weights = weights_of(core)
    found: dict[str, float] = {}
    inputs = list(tapped(core, tuple(dict.fromkeys(node.input[0] for node in nodes)), feeds))
    for node in nodes:
        weight = array_of(weights[node.input[1]])
        weight = weight.T if _attributes(node).get("transB") else weight
        rounded = _signed(weight)
        pairs = [
            (np.matmul(x, weight).astype(np.float64), np.matmul(_unsigned(x), rounded).astype(np.float64))
            for x in (values[node.input[0]] for values in inputs)
        ]
        db = sqnr_db(pairs)
        found[node.name] = np.inf if db is None else db
    return found


def _signed(weight: NDArray[Any]) -> NDArray[Any]:
    """Rounded to ±127 steps a column, and back."""
    scale: NDArray[Any] = np.maximum(np.abs(weight).max(axis=0), 1e-30) / 127
    found: NDArray[Any] = np.rint(weight / scale) * scale
    return found


def _unsigned(values: Array) -> NDArray[Any]:
    """Rounded to 256 steps from the lowest (or 0) to the highest, and back, as DynamicQuantizeLinear does."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max((high - low) / 255, 1e-30)
    zero = np.rint(-low / scale)
    found: NDArray[Any] = (
        (np.clip(np.rint(np.asarray(values, np.float32) / scale) + zero, 0, 255) - zero) * scale
    ).astype(np.float32)
    return found


def _attributes(node: NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
