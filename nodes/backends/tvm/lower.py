"""An ONNX model as TVM's relax module: layouts chosen, constants folded, operators fused; nothing is compiled yet.

Convolutions run channels-last, which CPUs profit from most; quantised ones multiply bytes where the target can. Shapes
must be fixed. What TVM's importer lacks is refused by name before it starts; so is every domain but ONNX's own, which
that importer doesn't tell apart.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nodes.backend import TensorSpec
from nodes.backends.tvm.int8_intrinsics import DotProduct, dot_products
from nodes.backends.tvm.int8_network import int8_products, same_signs
from nodes.backends.tvm.int8_patterns import fold_weights, plain_quantisation
from nodes.backends.tvm.origins import origins
from nodes.backends.tvm.rewrites import fold_and_approximate, plain_scalars
from nodes.backends.tvm.vendor import NAME, one_line, quiet, tvm, version
from nodes.cache import CacheKey, engine_cache
from nodes.errors import CompileError, UnsupportedOperator

_LAYOUTS = {"relax.nn.conv2d": ["NHWC", "HWIO"], "relax.nn.conv2d_transpose": ["NCHW", "IOHW"]}


@dataclass(frozen=True, slots=True)
class Lowered:
    """A relax module, fused and ready to be tuned and compiled; its one function is `main`.

    `inputs` and `outputs` have the model's own names and order; `origins` are its kernels, each with its operator.
    """

    module: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    origins: tuple[tuple[str, str], ...]


@cache
def operators() -> frozenset[str]:
    """Types of ONNX's own domain that TVM's importer knows; kept on disk, as importing TVM takes its time."""

    def ask(folder: Path) -> None:
        tvm()
        from tvm.relax.frontend.onnx import onnx_frontend

        (folder / "operators.json").write_text(json.dumps(sorted(onnx_frontend._get_convert_map())))

    key = CacheKey(model="", engine=f"{NAME} {version()}", target="operators")
    with engine_cache().entry(key, ask) as folder:
        return frozenset(json.loads((folder / "operators.json").read_text()))


def lower(model: bytes | Path, tvm_target: Any) -> Lowered:
    """The module of a model for `tvm_target`. UnsupportedOperator or CompileError, naming what stands in the way."""
    proto = read(model)
    inputs = check(proto)
    dots = dot_products(tvm_target)
    if dots:
        same_signs(proto, dots[0].activations)
    from tvm.relax.frontend.onnx import from_onnx

    try:
        with quiet(), tvm_target:
            module = _optimised(from_onnx(proto, sanitize_input_names=True), dots)
        outputs = _outputs(module, [entry.name for entry in proto.graph.output])
    except CompileError:
        raise
    except Exception as error:
        raise CompileError(f"{NAME} cannot import this model: {one_line(error)}") from None
    return Lowered(module, inputs, outputs, origins(module, proto))


def read(model: bytes | Path) -> Any:
    """The ONNX model, its external weights loaded. CompileError for what is no model."""
    import onnx

    try:
        proto = onnx.load(model) if isinstance(model, Path) else onnx.load_model_from_string(model)
    except OSError as error:
        raise CompileError(f"cannot read {model!s:.200}: {error.strerror}") from None
    except Exception as error:
        raise CompileError(f"{NAME}: this is no ONNX model: {one_line(error)}") from None
    if not proto.graph.output:
        raise CompileError(f"{NAME}: this is no ONNX model: it has no outputs")
    return proto


def check(proto: Any) -> tuple[TensorSpec, ...]:
    """The inputs, if TVM can take the model: UnsupportedOperator for an operator, CompileError for a free shape."""
    known = operators()
    for node in _nodes(proto.graph):
        if node.domain not in {"", "ai.onnx"} or node.op_type not in known:
            label = f"{node.op_type} {node.name!r}" if node.name else node.op_type
            message = f"{NAME} does not support operator {label}"
            raise UnsupportedOperator(message, operator=node.name, op_type=node.op_type, backend=NAME)
    weights = {tensor.name for tensor in proto.graph.initializer}
    return tuple(_input(entry) for entry in proto.graph.input if entry.name not in weights)


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of branches and loop bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _input(entry: Any) -> TensorSpec:
    import onnx

    kind = entry.type.tensor_type
    dims = kind.shape.dim
    if not kind.HasField("shape") or any(not dim.HasField("dim_value") for dim in dims):
        raise CompileError(
            f"{NAME} takes fixed shapes only, and input {entry.name!r} has a free one: "
            f"fix it, as `isthmus plan --shape` does"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return TensorSpec(entry.name, dtype, tuple(dim.dim_value for dim in dims))


def _optimised(module: Any, dots: Sequence[DotProduct]) -> Any:
    """Channels last, weights stored so, int8 where it was said, operators fused into the kernels that are tuned."""
    from tvm import relax
    from tvm.relax import transform

    module = plain_quantisation(plain_scalars(transform.DecomposeOpsForInference()(module)))
    module = transform.ConvertLayout(_LAYOUTS)(module)
    module = transform.CanonicalizeBindings()(module)
    if dots:
        module = int8_products(module, dots)
    module = transform.DeadCodeElimination()(fold_weights(module))
    module = fold_and_approximate(module)
    return relax.get_pipeline("zero")(module)


def _outputs(module: Any, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    from tvm import relax

    made = module["main"].ret_ty
    kinds = list(made.fields) if isinstance(made, relax.TupleType) else [made]
    return tuple(_output(name, kind) for name, kind in zip(names, kinds, strict=True))


def _output(name: str, kind: Any) -> TensorSpec:
    from tvm import relax, tirx

    if not isinstance(kind, relax.TensorType):
        raise CompileError(f"{NAME}: output {name!r} is a {type(kind).__name__}, not a tensor")
    dims = kind.shape.values if isinstance(kind.shape, relax.ShapeExpr) else [None] * kind.ndim
    return TensorSpec(name, str(kind.dtype), tuple(int(d) if isinstance(d, tirx.IntImm) else None for d in dims))
