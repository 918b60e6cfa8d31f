"""The ONNX model that an engine is built from: its interface, its operators, and its float16 form.

TensorRT's networks are strongly typed: they compute in the types that the model names. So float16 means a float16
model, made here from a float32 one; int8 means a model with QuantizeLinear and DequantizeLinear in it.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.backend import TensorSpec
from nodes.errors import CompileError

PRECISIONS = ("float32", "float16")
# What crosses between numpy and an engine. It would read float64 as float32 without a word, and has no text.
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model as it is parsed: the bytes, and the path if weights lie in files beside it."""

    content: bytes
    path: Path | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    op_types: Mapping[str, str]


def check_precision(name: str, precision: str) -> None:
    """CompileError for a precision that no model is made at."""
    if precision not in PRECISIONS:
        made = ", ".join(PRECISIONS)
        raise CompileError(f"{name} makes {made}, not {precision}; int8 is a model with Q/DQ operators")


def read(name: str, model: bytes | Path, precision: str) -> Source:
    """The model at the precision asked for. CompileError, in one line, for what is no model or can't cross."""
    path = model if isinstance(model, Path) else None
    content = model.read_bytes() if isinstance(model, Path) else model
    proto = _proto(name, content)
    if precision == "float16":
        content, path = _float16(name, proto, path), None
    inputs, outputs = _specs(proto.graph.input, name), _specs(proto.graph.output, name)
    weights = {one.name for one in proto.graph.initializer}
    return Source(
        content=content,
        path=path,
        inputs=tuple(spec for spec in inputs if spec.name not in weights),
        outputs=outputs,
        op_types={node.name: node.op_type for node in proto.graph.node},
    )


def _proto(name: str, content: bytes) -> Any:
    try:
        import onnx
    except ImportError:
        raise CompileError(f"{name} reads a model's interface with onnx, which is absent; pip install onnx") from None
    try:
        proto = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own
        raise CompileError(f"{name}: not an ONNX model: {' '.join(str(error).split())}") from None
    if not proto.graph.output:
        raise CompileError(f"{name}: not an ONNX model: it has no outputs")
    return proto


def _specs(values: Sequence[Any], name: str) -> tuple[TensorSpec, ...]:
    from onnx import helper

    specs = []
    for value in values:
        tensor = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "no type"
        if dtype not in DTYPES:
            raise CompileError(f"{name}: {value.name!r} is {dtype}; inputs and outputs must be {', '.join(DTYPES)}")
        dims = tensor.shape.dim
        shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)
        specs.append(TensorSpec(value.name, dtype, shape))
    return tuple(specs)


def _float16(name: str, proto: Any, path: Path | None) -> bytes:
    """The model computing in float16, its inputs and outputs as they were.

    What float16 can't tell from zero or holds no more is clipped to its nearest, as the converter does.
    """
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError:
        raise CompileError(
            f'{name}: a float16 model is made with ONNX Runtime\'s converter; pip install "isthmus[cpu]", '
            "or give a float16 model"
        ) from None
    if path is not None:
        from onnx.external_data_helper import load_external_data_for_model

        load_external_data_for_model(proto, str(path.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for every weight that it clips
            made = convert_float_to_float16(proto, keep_io_types=True)
        content: bytes = made.SerializeToString()
    except Exception as error:  # the converter's own, and protobuf's above 2 GB
        raise CompileError(f"{name}: no float16 model: {' '.join(str(error).split())[:300]}") from None
    return content
