"""Biases corrected for what rounding a convolution's weights shifts its outputs by, on average.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019 (arXiv:1906.04721),
section 4.2, with the means of the inputs measured on calibration data instead of derived: from each bias is taken
Σ (rounded weight − weight) · mean input, channel by channel. Padding is left out of account.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from nodes.backend import Array
from nodes.variants.pieces import array_of, tapped, weights_of

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class _Rounded:
    """A convolution's exact form, what widens its rounded weight, and its bias: a constant's name, and its scale's."""

    exact: NodeProto
    widening: NodeProto
    bias: str
    scale: str | None


def correct_biases(core: ModelProto, made: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> None:
    """Change the biases in `made`, whose convolutions have the names of those in `core` and rounded weights."""
    exact, rounded = weights_of(core), weights_of(made)
    found = list(_convolutions(core, made))
    means = _channel_means(core, [one.exact.input[0] for one in found], feeds)
    for one in found:
        weight = array_of(exact[one.exact.input[1]]).astype(np.float64)
        change = _dequantised(one.widening, rounded) - weight
        moved = _shift(change.sum(axis=tuple(range(2, change.ndim))), means[one.exact.input[0]])
        bias = array_of(rounded[one.bias])
        if one.scale is None:
            corrected = (bias - moved).astype(bias.dtype)
        else:
            steps = np.round(bias - moved / array_of(rounded[one.scale]).astype(np.float64))
            corrected = np.clip(steps, INT32.min, INT32.max).astype(np.int32)
        rounded[one.bias].CopyFrom(numpy_helper.from_array(corrected, one.bias))


def _convolutions(core: ModelProto, made: ModelProto) -> Iterator[_Rounded]:
    """Those with a rounded weight and a constant bias of their own."""
    source = {node.name: node for node in core.graph.node if node.op_type == "Conv"}
    maker = {name: node for node in made.graph.node for name in node.output}
    reads = [name for node in made.graph.node for name in node.input]
    constants = weights_of(made)
    for node in made.graph.node:
        if node.name not in source or len(node.input) != 3 or not _widens(maker.get(node.input[1])):
            continue
        widening, bias = maker[node.input[1]], maker.get(node.input[2])
        held, scale = (bias.input[0], bias.input[1]) if bias is not None and _widens(bias) else (node.input[2], None)
        if held in constants and reads.count(held) == 1:
            yield _Rounded(source[node.name], widening, held, scale)


def _widens(node: NodeProto | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear"


def _channel_means(
    core: ModelProto, names: Sequence[str], feeds: Sequence[Mapping[str, Array]]
) -> Mapping[str, NDArray[Any]]:
    """Mean over the feeds, rows and places of each channel (axis 1)."""
    sums: dict[str, NDArray[Any]] = {}
    for values in tapped(core, tuple(dict.fromkeys(names)), feeds):
        for name, array in values.items():
            mean = array.mean(axis=(0, *range(2, array.ndim)), dtype=np.float64) / len(feeds)
            sums[name] = sums[name] + mean if name in sums else mean
    return sums


def _dequantised(node: NodeProto, weights: Mapping[str, TensorProto]) -> NDArray[Any]:
    """What a DequantizeLinear makes of a constant: (q − zero) · scale, the channels along axis 0."""
    values, scale = (array_of(weights[name]).astype(np.float64) for name in node.input[:2])
    zero = array_of(weights[node.input[2]]).astype(np.float64) if len(node.input) > 2 else np.zeros(1)
    spread = (-1, *(1,) * (values.ndim - 1))
    found: NDArray[Any] = (values - zero.reshape(spread)) * scale.reshape(spread)
    return found


def _shift(change: NDArray[Any], means: NDArray[Any]) -> NDArray[Any]:
    """Change of each output channel's mean: `change` [out, in / groups], `means` [in]."""
    out, each = change.shape
    groups = len(means) // each
    shifted: NDArray[Any] = np.einsum(
        "goi,gi->go", change.reshape(groups, out // groups, each), means.reshape(groups, each)
    )
    return shifted.ravel()
