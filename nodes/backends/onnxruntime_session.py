"""A model that ONNX Runtime compiled: runs it, times its kernels, and tells the engine's errors in one line."""

import ctypes
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, CompileError, NodesError, RunError, UnsupportedOperator
from nodes.feeds import check_feeds, describe, engine_ready
from nodes.held import BFLOAT16, HELD, STRING, encoded

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64", "string": STRING,
}  # fmt: skip

_BFLOAT16 = 16  # ONNX's number for it
_COMPILED = re.compile(r"[A-Za-z]+ExecutionProvider_")
_BOUND = frozenset(_DTYPES.values()) - HELD.keys()  # numpy's own

# How the engine says that it lacks an operator: when loading, when resolving a domain, when choosing a kernel.
_UNSUPPORTED = (
    re.compile(r'In Node, \("(?P<operator>[^"]*)", (?P<op_type>[^,]+), .*No Op registered for'),
    re.compile(r"Fatal error: (?P<op_type>\S+)\(-?\d+\) is not a registered"),
    re.compile(r"Could not find an implementation for (?P<op_type>\w+)\(\d+\) node with name '(?P<operator>[^']*)'"),
)


class OnnxRuntimeSession:
    """A compiled model. Outputs are fresh arrays, inputs are read in place.

    `on_cpu` names the operators that an accelerator's provider left to the CPU, () on the CPU itself; None where this
    version of the engine does not tell.
    """

    def __init__(
        self,
        session: Any,
        engine: str,
        *,
        bound: bool = False,
        profile_folder: "tempfile.TemporaryDirectory[str] | None" = None,
        on_cpu: tuple[str, ...] | None = (),
    ) -> None:
        self.inputs = tuple(_spec(entry) for entry in session.get_inputs())
        self.outputs = tuple(_spec(entry) for entry in session.get_outputs())
        self.on_cpu = on_cpu
        self._names = [spec.name for spec in self.outputs]
        self._session = session
        self._engine = engine
        self._call = self._bound() if bound else self._plain()
        self._profile_folder = profile_folder
        self._operator_s: Mapping[str, float] | None = None

    def _plain(self) -> "_Plain":
        dtypes = {spec.dtype for spec in (*self.inputs, *self.outputs)}
        if HELD.keys() <= dtypes:
            raise CompileError(f"{self._engine}: text and bfloat16 in one model's inputs and outputs are not supported")
        if BFLOAT16 in dtypes:
            return _Bits(self._session, self.inputs, self.outputs)
        return (_Texts if STRING in dtypes else _Plain)(self._session, self._names)

    def _bound(self) -> "_Bound":
        for spec in (*self.inputs, *self.outputs):
            if spec.dtype not in _BOUND or None in spec.shape:
                raise CompileError(
                    f"{self._engine}: io_binding needs numbers of fixed shapes, and {describe(spec)} is not; "
                    "leave out that option"
                )
        return _Bound(self._session, self.inputs, self.outputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        try:
            values = self._call.run(feeds)
        except NodesError:
            raise
        except Exception as error:
            raise RunError(f"{self._engine}: {one_line(str(error))}") from None
        return dict(zip(self._names, values, strict=True))

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`; profiling ends with the first call.

        A key is the name of one of the operators that the kernel fuses, perhaps with a suffix of the engine's.
        """
        if self._profile_folder is not None:
            self._operator_s = _operator_s(Path(self._session.end_profiling()))
            self._profile_folder.cleanup()
            self._profile_folder = None
        return self._operator_s

    def close(self) -> None:
        """Free the engine's memory."""
        self._session = None
        self._call = _Closed()
        if self._profile_folder is not None:
            self._profile_folder.cleanup()
            self._profile_folder = None


class _Plain:
    def __init__(self, session: Any, names: list[str]) -> None:
        self._session = session
        self._names = names

    def run(self, feeds: Mapping[str, Array]) -> Sequence[Array]:
        ready = {name: engine_ready(array) for name, array in feeds.items()}
        values: Sequence[Array] = self._session.run(self._names, ready)
        return values


class _Texts(_Plain):
    """With text among its tensors."""

    def run(self, feeds: Mapping[str, Array]) -> Sequence[Array]:
        ready = {name: _text(name, array) if array.dtype.kind == "O" else array for name, array in feeds.items()}
        return [_bytes(array) if array.dtype.kind == "O" else array for array in super().run(ready)]


class _Bits(_Plain):
    """With bfloat16 among its tensors, which only the engine's own values hold."""

    def __init__(self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        super().__init__(session, [spec.name for spec in outputs])
        self._bits = {spec.name for spec in inputs if spec.dtype == BFLOAT16}
        self._made = [spec.dtype == BFLOAT16 for spec in outputs]

    def run(self, feeds: Mapping[str, Array]) -> Sequence[Array]:
        from onnxruntime import OrtValue

        given = {}
        for name, array in feeds.items():
            ready, typed = engine_ready(array), OrtValue.ortvalue_from_numpy_with_onnx_type
            given[name] = typed(ready, _BFLOAT16) if name in self._bits else OrtValue.ortvalue_from_numpy(ready)
        values = self._session.run_with_ort_values(self._names, given)
        return [_copied(value) if bits else value.numpy() for value, bits in zip(values, self._made, strict=True)]


def _text(name: str, array: Array) -> Array:
    """The elements as the engine wants them; BadInput for one that is no UTF-8."""
    found = np.empty(array.shape, np.object_)
    for at, value in enumerate(array.reshape(-1)):
        try:
            found.reshape(-1)[at] = encoded(value).decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"{name!r}: element {at} is no UTF-8: {error.reason} at byte {error.start}") from None
    return found


def _bytes(array: Array) -> Array:
    found = np.empty(array.shape, np.object_)
    found.reshape(-1)[:] = [encoded(each) for each in array.reshape(-1)]
    return found


def _copied(value: Any) -> Array:
    """The bits of the engine's value."""
    shape = tuple(value.shape())
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    return np.ctypeslib.as_array(pointer, shape).copy() if prod(shape) else np.empty(shape, np.uint16)


class _Bound(_Plain):
    """Through the engine's IOBinding: tensors are copied into and out of buffers that it was told of once."""

    def __init__(self, session: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        super().__init__(session, [spec.name for spec in outputs])
        self._binding = session.io_binding()
        self._given = {spec.name: _buffer(spec) for spec in inputs}
        self._made = {spec.name: _buffer(spec) for spec in outputs}
        for name, array in self._given.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self._made.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, feeds: Mapping[str, Array]) -> Sequence[Array]:
        for name, array in feeds.items():
            np.copyto(self._given[name], array)
        self._session.run_with_iobinding(self._binding)
        return [array.copy() for array in self._made.values()]


class _Closed(_Plain):
    def __init__(self) -> None:
        super().__init__(None, [])

    def run(self, feeds: Mapping[str, Array]) -> Sequence[Array]:
        raise RuntimeError("the session is closed")


def compile_error(message: str, engine: str = "onnxruntime") -> NodesError:
    """The engine's message as ours: UnsupportedOperator where it says so, else CompileError."""
    for pattern in _UNSUPPORTED:
        if found := pattern.search(message):
            facts = {"operator": "", **found.groupdict()}
            label = f"{facts['op_type']} {facts['operator']!r}" if facts["operator"] else facts["op_type"]
            return UnsupportedOperator(f"{engine} does not support operator {label}", backend=engine, **facts)
    return CompileError(f"{engine}: {one_line(message)}")


def one_line(message: str) -> str:
    """The vendor's message without its error code, on one line."""
    return " ".join(re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message).split())[:500]


def _buffer(spec: TensorSpec) -> Array:
    return np.zeros([dim or 0 for dim in spec.shape], spec.dtype)


def _spec(entry: Any) -> TensorSpec:
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(dim if isinstance(dim, int) else None for dim in entry.shape)
    return TensorSpec(entry.name, _DTYPES.get(kind, kind), shape)


def _operator_s(file: Path) -> Mapping[str, float] | None:
    """Of the engine's trace (Chrome's format, microseconds): each kernel's median over the runs.

    None where a provider makes one kernel of many operators: its trace has no names of theirs.
    """
    taken: dict[str, list[float]] = defaultdict(list)
    for event in json.loads(file.read_text()):
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"].removesuffix("_kernel_time")].append(event["dur"] * 1e-6)
    if any(_COMPILED.match(name) for name in taken):
        return None
    return {name: median(times) for name, times in taken.items()}
