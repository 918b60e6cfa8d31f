"""Which of a model's operators each kernel mainly computes: TVM's passes forget it, so it is found out afterwards.

A kernel's name lists what is fused in it. The heaviest part counts, matched with the model's operators of that kind:
one whose output is as large, in the order of both. Operators of one kind and size may be confused, which take the same
time. What is fused beside the heaviest part, and kernels that match nothing, are for attribution.py to share out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

# What TVM calls a part, and the operators that become it: the heaviest first.
_PARTS = {
    "conv2d_transpose": ("ConvTranspose",),
    "conv2d": ("Conv",),
    "conv1d": ("Conv",),
    "matmul": ("MatMul", "Gemm", "MatMulInteger"),
    "layer_norm": ("LayerNormalization",),
    "softmax": ("Softmax", "LogSoftmax"),
    "max_pool2d": ("MaxPool",),
    "avg_pool2d": ("AveragePool",),
    "resize2d": ("Resize", "Upsample"),
    "mean": ("GlobalAveragePool", "ReduceMean"),
    "sum": ("ReduceSum", "ReduceL2"),
    "erf": ("Erf", "Gelu"),
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "exp": ("Exp",),
    "take": ("Gather",),
    "concatenate": ("Concat",),
    "transpose": ("Transpose",),
    "pad": ("Pad",),
}
_SMALL = {
    "divide": ("Div", "QuantizeLinear"),
    "multiply": ("Mul", "DequantizeLinear"),
    "subtract": ("Sub",),
    "add": ("Add",),
    "maximum": ("Clip", "Max"),
    "relu": ("Relu",),
    "where": ("Where",),
    "cast": ("Cast",),
    "reshape": ("Reshape", "Flatten"),
}


@dataclass(frozen=True, slots=True)
class _Operator:
    name: str
    op_type: str
    elements: int | None  # of its first output, where the model states its shape


def origins(module: Any, proto: Any) -> tuple[tuple[str, str], ...]:
    """Each kernel that `main` calls, in that order, and the name of the operator it computes, "" where unknown.

    An operator without a name goes by that of its first output.
    """
    left = list(_operators(proto.graph))
    found = []
    for kernel, elements in _calls(module):
        operator = _heaviest(kernel, elements, left)
        if operator is not None:
            left.remove(operator)
        found.append((kernel, operator.name if operator is not None else ""))
    return tuple(found)


def _heaviest(kernel: str, elements: int, left: Sequence[_Operator]) -> _Operator | None:
    for parts, any_size in ((_PARTS, True), (_SMALL, False)):
        for part, op_types in parts.items():
            if re.search(rf"(?:^|_){part}(?:_int8)?\d*(?:_|$)", kernel):
                fitting = [operator for operator in left if operator.op_type in op_types]
                same = [operator for operator in fitting if operator.elements == elements]
                if same or (fitting and any_size):
                    return (same or fitting)[0]
    return None


def _operators(graph: Any) -> Iterator[_Operator]:
    sizes = {}
    for entry in (*graph.value_info, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            sizes[entry.name] = prod(dim.dim_value for dim in dims)
    for node in graph.node:
        yield _Operator(node.name or node.output[0], node.op_type, sizes.get(node.output[0]))


def _calls(module: Any) -> Iterator[tuple[str, int]]:
    """Of `main`: each kernel called, and how many numbers it makes."""
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            if getattr(getattr(value, "op", None), "name", "") == "relax.call_tir":
                dims = [int(dim) for dim in getattr(getattr(value.ty, "shape", None), "values", ())]
                yield str(value.args[0].name_hint), prod(dims)
