"""Which int8 form suits a graph: static where convolutions do the work, dynamic where matrix products do.

Static scales lose a transformer's answers, dynamic ones cost a convolution more than they save. The work is counted in
multiplications: a weight's values times the places where it is used, as far as shapes are stated.
"""

from collections.abc import Mapping, Sequence
from math import prod

from onnx import ModelProto

from nodes.backend import Array
from nodes.errors import BadInput
from nodes.options import Options
from nodes.variants.errors import NotPossible
from nodes.variants.int8_dynamic import int8_dynamic, products
from nodes.variants.int8_static import int8_static, quantisable
from nodes.variants.pieces import weights_of


def int8(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """The form that suits, with its options. BadInput if that is the static one and there are no feeds."""
    if suits(core) == "int8-dynamic":
        return int8_dynamic(core, feeds, read)
    if not feeds:
        raise BadInput("int8 of a convolutional model needs calibration inputs; give some, or take the form weights8")
    return int8_static(core, feeds, read)


def suits(core: ModelProto) -> str:
    """`int8-static` or `int8-dynamic`; NotPossible for a model with nothing to quantise."""
    weights = weights_of(core)
    entries = [*core.graph.value_info, *core.graph.output]
    shapes = {entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in entries}
    work = {"Conv": 0, "Gemm": 0, "MatMul": 0}
    for node in quantisable(core):
        places = shapes.get(node.output[0], [])
        # of Conv [batch, channels, …], of the others […, rows, columns]
        used = places[2:] if node.op_type == "Conv" else places[:-1]
        work[node.op_type] += prod(weights[node.input[1]].dims) * max(prod(used), 1)
    if not any(work.values()):
        raise NotPossible("the model has nothing to quantise: no Conv, Gemm or MatMul with float32 weights")
    dynamic = work["Gemm"] + work["MatMul"] > work["Conv"] and products(core)
    return "int8-dynamic" if dynamic else "int8-static"
