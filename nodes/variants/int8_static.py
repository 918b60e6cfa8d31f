"""8-bit weights and activations with fixed scales, as Q/DQ pairs: for convolutional networks.

Activations are unsigned and weights signed (u8s8): CPUs with VNNI multiply those at once, two signed ones they don't.
TensorRT takes signed activations around 0 and float biases alone: the option `activations=signed` gives it those.
Weights have a scale a channel. What a graph gives out stays float, and so do products of two activations (attention),
which fixed scales break. Biases are then corrected for what rounding the weights shifts (bias_correction.py).
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from nodes.backend import Array, Option
from nodes.options import Options
from nodes.variants.bias_correction import correct_biases
from nodes.variants.errors import NotPossible
from nodes.variants.pieces import copied, kept_float, weights_of
from nodes.variants.quiet import quiet

WEIGHTED = ("Conv", "Gemm", "MatMul")
# What is worth 8 bits between those: it moves values, picks them, or adds them. Exponentials and norms stay float.
BETWEEN = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu", "Reshape",
    "Resize", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
FLOATS_OUT = ("Gemm", "MatMul")  # what engines have kernels for from 8 bits in to floats out
CALIBRATIONS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}


def int8_static(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """ONNX Runtime's static quantiser. NotPossible for a model without operators with float weights.

    Options: `activations` unsigned, or signed for TensorRT; `calibration` minmax, percentile (with `percentile`) or
    entropy; `per_channel`; `bias_correction`; `keep_float`, operators that stay float32, commas between.
    """
    signed = read.choice("activations", "unsigned", ("unsigned", "signed")) == "signed"
    method = read.choice("calibration", "minmax", tuple(CALIBRATIONS))
    percentile, per_channel = read.number("percentile", 99.99), read.switch("per_channel", True)
    correction, kept = read.switch("bias_correction", True), kept_float(core, read.text("keep_float", ""))
    if not any(quantisable(core, kept)):
        raise NotPossible(f"the model has nothing to quantise: no {', '.join(WEIGHTED)} with float32 weights")
    extra: dict[str, Option] = {"CalibPercentile": percentile} if method == "percentile" else {}
    extra |= {"ActivationSymmetric": True, "QuantizeBias": False} if signed else {}
    with quiet("int8-static"), tempfile.TemporaryDirectory(prefix="isthmus-int8-") as folder:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        target = Path(folder) / "model.onnx"
        quantize_static(
            copied(core), target, _Reader(feeds), QuantFormat.QDQ, [*WEIGHTED, *BETWEEN], per_channel,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            calibrate_method=getattr(CalibrationMethod, CALIBRATIONS[method]),
            extra_options={"MatMulConstBOnly": True, **extra},
        )  # fmt: skip
        made = onnx.load_model(target)
    _give_out_floats(made)
    if correction:
        correct_biases(core, made, feeds)
    return made


def quantisable(core: ModelProto, kept: Sequence[str] = ()) -> list[NodeProto]:
    """Operators with float32 weights that 8 bits suit, those in `kept` left out."""
    floats = {name for name, tensor in weights_of(core).items() if tensor.data_type == TensorProto.FLOAT}
    return [
        node
        for node in core.graph.node
        if node.op_type in WEIGHTED and node.name not in kept and len(node.input) > 1 and node.input[1] in floats
    ]


class _Reader:
    """Feeds as the quantiser asks for them: the next, and None after the last."""

    def __init__(self, feeds: Sequence[Mapping[str, Array]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._left, None)

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Mapping[str, Array]:
        return next(self._left)


def _give_out_floats(model: ModelProto) -> None:
    """Take the Q/DQ pair before each output away: rounding scores costs labels and saves nothing."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    for entry in graph.output:
        back = maker.get(entry.name)
        forth = maker.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
        if back is None or forth is None or forth.input[0] not in maker:
            continue
        rounded, source = forth.output[0], forth.input[0]
        others = [node for node in graph.node if {rounded, source, entry.name} & set(node.input)]
        if others != [forth, back] or maker[source].op_type not in FLOATS_OUT:
            continue  # the rounded values are read inside the model too, or the engine would compute in floats
        made = maker[source].output
        made[list(made).index(source)] = entry.name
        graph.node.remove(back)
        graph.node.remove(forth)
