"""MNN on the CPU: small, quick to start, at home on ARM. What its converter made is verified before it is used.

Integers are 32 bits wide inside: 64-bit inputs beyond that are refused, results that overflow are not seen. Free
shapes that contradict each other are found only where they bear the same name. `float16` is computed in where the CPU
has it (ARMv8.2); the option `weights` only stores them narrower: files of half and of a quarter the size, float32
speed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from nodes.backend import NO_OPTIONS, Array, Capabilities, Option
from nodes.backends.mnn_conversion import WEIGHTS, conversion, operators
from nodes.backends.mnn_engine import array_of, engine, has_half_floats, one_line, quiet, tensor_types, variable
from nodes.backends.mnn_source import NAME, Port
from nodes.errors import BadInput, CompileError, RunError
from nodes.feeds import check_feeds, engine_ready
from nodes.options import Options

OPTIONS = {"weights": "how weights are stored: float32, float16 or int8 (computing stays in the precision)"}
_PRECISIONS = {"float32": "high", "float16": "low"}
_INT32 = np.iinfo(np.int32)
# Winograd's tiles: at the engine's own choice an OCR detector is off by 3e-3, with the smallest by 3e-5, as fast.
_WINOGRAD_MEMORY, _SMALLEST = 3, 0


class Mnn:
    """The backend."""

    def __init__(self) -> None:
        self._version: str = engine().version()

    def capabilities(self) -> Capabilities:
        """Its converter's operators; float16 only where this CPU computes in it."""
        return Capabilities(
            backend=NAME,
            version=self._version,
            devices=("cpu",),
            precisions=("float32", "float16") if has_half_floats() else ("float32",),
            operators=_listed_operators(),
            options=OPTIONS,
        )

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> "MnnSession":
        """A session for an ONNX model; a path is needed where weights lie in files beside it."""
        if precision == "float16" and not has_half_floats():
            raise CompileError(
                f"{NAME} computes in float16 on ARMv8.2 and later; here take float32, and weights=float16"
            )
        if precision not in _PRECISIONS:
            raise CompileError(f"{NAME} computes in {' and '.join(_PRECISIONS)}, not {precision}")
        with Options(NAME, options) as read:
            weights = read.choice("weights", "float32", tuple(WEIGHTS))
        with conversion(model, weights=weights, version=self._version) as made:
            return MnnSession(made.model, made.inputs, made.outputs, precision, threads, profile)


class MnnSession:
    """A converted model. Inputs are copied in, outputs copied out."""

    def __init__(
        self,
        model: Path,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
    ) -> None:
        self.inputs = tuple(port.spec for port in inputs)
        self.outputs = tuple(port.spec for port in outputs)
        self._ports = tuple(inputs)
        free = [dim for port in inputs for dim in port.shape or () if isinstance(dim, str)]
        self._shares_sizes = len(set(free)) < len(free)
        self._kernels: _Kernels | None = None
        config = {"backend": "CPU", "precision": _PRECISIONS[precision], "numThread": threads}
        engine()
        import MNN.nn

        with quiet():
            try:
                self._runtime: Any = MNN.nn.create_runtime_manager((config,))
                self._runtime.set_hint(_WINOGRAD_MEMORY, _SMALLEST)
                names = [port.inside for port in inputs], [port.inside for port in outputs]
                self._net: Any = MNN.nn.load_module_from_file(str(model), *names, runtime_manager=self._runtime)
            except Exception as error:
                raise CompileError(f"{NAME}: {one_line(error)}") from None
            if profile:
                self._kernels = _Kernels.of(model, inputs, config)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        if self._net is None:
            raise RunError(f"{NAME}: the session is closed")
        if self._shares_sizes:
            _check_sizes(self._ports, feeds)
        given = [_narrowed(spec.name, feeds[spec.name]) for spec in self.inputs]
        try:
            made = self._net.forward([variable(array) for array in given])
            if len(made) != len(self.outputs):
                raise RunError(f"{NAME} failed on inputs of shapes {', '.join(str(list(a.shape)) for a in given)}")
            answers = {spec.name: array_of(one, spec.dtype) for spec, one in zip(self.outputs, made, strict=True)}
            if self._kernels is not None:
                self._kernels.run(given)
            return answers
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"{NAME}: {one_line(error)}") from None

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`; None where the engine doesn't tell.

        It does not for control flow and for shapes that depend on values. A key is the name of an operator or of its
        output, or of a copy that the engine added. Each profiled run computes twice, since only the engine's older
        interface tells times.
        """
        return None if self._kernels is None else self._kernels.seconds()

    def close(self) -> None:
        """Free the engine's memory."""
        self._net = self._runtime = self._kernels = None


class _Kernels:
    """The same model in the interpreter, which calls back before and after each kernel."""

    def __init__(self, model: Path, inputs: Sequence[Port], config: Mapping[str, object]) -> None:
        self._mnn = engine()
        self._interpreter = self._mnn.Interpreter(str(model))
        self._interpreter.setSessionHint(_WINOGRAD_MEMORY, _SMALLEST)
        self._session = self._interpreter.createSession(dict(config))
        self._names = [port.inside for port in inputs]
        self._taken: dict[str, list[float]] = defaultdict(list)

    @classmethod
    def of(cls, model: Path, inputs: Sequence[Port], config: Mapping[str, object]) -> "_Kernels | None":
        """None where the interpreter lacks what the model needs: control flow, shapes that depend on values."""
        try:
            return cls(model, inputs, config)
        except Exception:
            return None

    def run(self, arrays: Sequence[Array]) -> None:
        """Run on inputs as MNN takes them and note every kernel's time."""
        tensors = self._interpreter.getSessionInputAll(self._session)
        shaped = [(tensors[name], array) for name, array in zip(self._names, arrays, strict=True) if name in tensors]
        if any(tuple(tensor.getShape()) != array.shape for tensor, array in shaped):
            for tensor, array in shaped:
                self._interpreter.resizeTensor(tensor, array.shape)
            self._interpreter.resizeSession(self._session)
        for tensor, array in shaped:
            kind = tensor_types(self._mnn)[array.dtype.name]
            tensor.copyFrom(self._mnn.Tensor(array.shape, kind, array, self._mnn.Tensor_DimensionType_Caffe))
        counted: dict[str, float] = defaultdict(float)
        started_s = 0.0

        def before(_: object, __: object) -> bool:
            nonlocal started_s
            started_s = perf_counter()
            return True

        def after(_: object, kernel: Any) -> bool:
            counted[kernel.getName()] += perf_counter() - started_s
            return True

        self._interpreter.runSessionWithCallBackInfo(self._session, before, after)
        for name, seconds in counted.items():
            self._taken[name].append(seconds)

    def seconds(self) -> Mapping[str, float] | None:
        """Each kernel's median over the runs; None where the interpreter ran none."""
        return {name: median(times) for name, times in self._taken.items()} or None


def load() -> Mnn:
    """The backend; EngineMissing where its package is absent."""
    return Mnn()


def _listed_operators() -> frozenset[str] | None:
    """None where the converter can't be asked: a file converted elsewhere still runs."""
    with suppress(CompileError):
        return operators()
    return None


def _check_sizes(ports: Sequence[Port], feeds: Mapping[str, Array]) -> None:
    """BadInput where a free dimension of one name has two sizes: the engine would compute beyond a tensor's end."""
    sizes: dict[str, tuple[int, str]] = {}
    for port in ports:
        for dim, size in zip(port.shape or (), feeds[port.name].shape, strict=True):
            if isinstance(dim, str) and sizes.setdefault(dim, (size, port.name))[0] != size:
                known, name = sizes[dim]
                raise BadInput(f"{dim} is {known} in {name!r} and {size} in {port.name!r}")


def _narrowed(name: str, array: Array) -> Array:
    """The tensor as the engine takes it: float32, uint8 or int32. BadInput for values beyond 32 bits."""
    kind = array.dtype.name
    if kind == "int64" and array.size and not _INT32.min <= array.min() <= array.max() <= _INT32.max:
        raise BadInput(f"{name!r} has values beyond 32 bits, in which {NAME} computes")
    if kind in ("float32", "int32", "uint8"):
        return engine_ready(array)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32, order="C")
