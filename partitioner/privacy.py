"""Which tensors still are the picture: what `private: true` keeps on the source's node.

A private input is kept, and everything made from it by operators that only move, scale or recode positions:
a resized, cropped, transposed or normalised image is an image. The first operator that mixes positions or
channels with learned weights (Conv, Gemm, MatMul, an attention…) ends this: its output may leave. That is a
rule about pixel forms, not a proof of secrecy: features can leak too (model inversion reconstructs inputs from
early activations), and the earlier the cut the more. `until` moves the border further in by hand.
"""

from collections.abc import Iterable

from partitioner.errors import InvalidProblem
from partitioner.graph import Graph, Operator
from partitioner.sources import told_inputs

# Each output element depends on one position of the data, or on data and constants elementwise, or on
# positions moved about: an eye would still know the picture.
KEEPS_PICTURE = frozenset({
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "BitShift", "Cast", "CastLike", "Ceil",
    "CenterCropPad", "Clip", "Compress", "Concat", "DepthToSpace", "DequantizeLinear", "Div", "Dropout", "Equal",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual",
    "GridSample", "HardSigmoid", "HardSwish", "Identity", "If", "InstanceNormalization", "LayerNormalization",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Loop", "Max", "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "Not",
    "OneHot", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Reshape", "Resize",
    "ReverseSequence", "Round", "Scan", "ScatterElements", "ScatterND", "Selu", "Sigmoid", "Sign", "Slice",
    "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Tile",
    "Transpose", "Unsqueeze", "Upsample", "Where", "Xor",
})  # fmt: skip


def pixel_forms(graph: Graph, inputs: Iterable[str], until: str | None = None) -> frozenset[str]:
    """The private inputs and every tensor that is still a form of them.

    `until` names an operator: whatever is made from the inputs on the way to it is kept as well, its own
    outputs not. Unknown operators' outputs are kept if they are registered functions, and may leave if they
    are an engine's. InvalidProblem for a name that is not the graph's.
    """
    kept = set(inputs)
    for name in kept:
        if name not in told_inputs(graph):
            raise InvalidProblem(
                f"{graph.name}: private input {name!r} is not an input; inputs are {told_inputs(graph)}"
            )
    derived = set(kept)
    before = _ancestors(graph, until) if until is not None else frozenset()
    on_the_way: set[str] = set()
    for index, operator in enumerate(graph.operators):
        if kept.intersection(operator.inputs) and _keeps_picture(operator):
            kept.update(operator.outputs)
        if derived.intersection(operator.inputs):
            derived.update(operator.outputs)
            on_the_way.update(operator.outputs if index in before else ())
    return frozenset(kept | on_the_way)


def _keeps_picture(operator: Operator) -> bool:
    return operator.is_function or operator.op_type in KEEPS_PICTURE


def _ancestors(graph: Graph, until: str) -> frozenset[int]:
    """Operators that the named one needs, itself left out."""
    index = {operator.name: i for i, operator in enumerate(graph.operators)}
    if until not in index:
        raise InvalidProblem(f"{graph.name}: no operator {until!r} to keep tensors private until")
    found: set[int] = set()
    ahead = [index[until]]
    while ahead:
        for name in graph.operators[ahead.pop()].inputs:
            producer = graph.activations[name].producer
            if producer is not None and producer not in found:
                found.add(producer)
                ahead.append(producer)
    return frozenset(found)
