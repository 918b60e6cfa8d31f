"""OpenVINO on the CPU. The precision is always set: the engine's own default may be bfloat16.

Threads are not pinned to cores: two workers on one machine would pin themselves to the same ones. 64-bit integers
are 32 bits wide inside this engine. Free shapes that contradict each other give empty outputs, not an error.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nodes.backend import NO_OPTIONS, Array, Capabilities, Option, TensorSpec
from nodes.errors import CompileError, EngineMissing, NodesError, RunError, UnsupportedOperator
from nodes.feeds import check_feeds, engine_ready
from nodes.options import Options

NAME = "openvino"
DEVICE = "CPU"

_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_CAPABILITY = {"FP32": "float32", "BF16": "bfloat16", "FP16": "float16"}
_DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "string": "str",
}  # fmt: skip

# "-- No conversion rule found for operations: custom.x.Foo, Bar-17", "-- Conversion is failed for: Foo-17"
_UNSUPPORTED = re.compile(r"(?:No conversion rule found for operations|Conversion is failed for): ([\w.]+)(?:-\d+)?")


class OpenVino:
    """The backend."""

    def __init__(self) -> None:
        self._core = _core()

    def capabilities(self) -> Capabilities:
        """Version and the precisions that this CPU computes in natively."""
        import openvino

        native = self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        precisions = tuple(name for key, name in _CAPABILITY.items() if key in native)
        version = openvino.__version__.split("-")[0]
        return Capabilities(backend=NAME, version=version, devices=("cpu",), precisions=precisions)

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> "OpenVinoSession":
        """A session for an ONNX model; a path is needed where weights lie in files beside it."""
        if precision not in (native := self.capabilities().precisions):
            raise CompileError(f"{NAME} here computes in {', '.join(native)}, not {precision}")
        with Options(NAME, options):
            pass
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile,
        }
        try:
            source = self._core.read_model(str(model) if isinstance(model, Path) else model)
            compiled = self._core.compile_model(source, DEVICE, config)
            used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        except Exception as error:
            raise _compile_error(str(error)) from None
        if used != _HINTS[precision]:
            raise CompileError(f"{NAME} would compute in {used} where {precision} was asked for")
        return OpenVinoSession(compiled, profile)


class OpenVinoSession:
    """A compiled model. Writable inputs are read in place, outputs copied out of the engine's own buffers."""

    def __init__(self, compiled: Any, profile: bool) -> None:
        self.inputs = tuple(_spec(port, port.get_any_name()) for port in compiled.inputs)
        self.outputs = tuple(_spec(port, _output_name(port)) for port in compiled.outputs)
        self._compiled = compiled
        self._request: Any = compiled.create_infer_request()
        self._profile = profile
        self._kernels_s: dict[str, list[float]] = defaultdict(list)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        if self._request is None:
            raise RunError(f"{NAME}: the session is closed")
        try:
            # The engine reads shared memory without owning it: the tensors must outlive the inference.
            tensors = [_tensor(feeds[spec.name]) for spec in self.inputs]
            for index, (tensor, _) in enumerate(tensors):
                self._request.set_input_tensor(index, tensor)
            self._request.infer()
            if self._profile:
                self._record()
            return {
                spec.name: np.array(self._request.get_output_tensor(index).data)
                for index, spec in enumerate(self.outputs)
            }
        except Exception as error:
            raise RunError(f"{NAME}: {_one_line(str(error))}") from None

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`.

        A key names the operators that the kernel fuses, joined by commas.
        """
        if not self._profile:
            return None
        return {name: median(times) for name, times in self._kernels_s.items()}

    def _record(self) -> None:
        """Add what the engine counted in its last run; it keeps no more."""
        counted: dict[str, float] = defaultdict(float)
        for kernel in self._compiled.get_runtime_model().get_ops():
            info = kernel.get_rt_info()
            group, micros = _text(info, "originalLayersNames"), _text(info, "execTimeMcs")
            if group and micros.isdigit():
                counted[group] += int(micros) * 1e-6
        for group, seconds in counted.items():
            self._kernels_s[group].append(seconds)

    def close(self) -> None:
        """Free the engine's memory."""
        self._request = self._compiled = None


def load() -> OpenVino:
    """The backend; EngineMissing where its package is absent."""
    return OpenVino()


@cache
def _core() -> Any:
    """One Core per process: it owns the plugin and its thread pools.

    Its telemetry is kept from loading: it calls home at import from a fork, and without internet ends that fork with
    SIGTERM, which the event loop that was forked along hears as its own and stops the worker.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise EngineMissing('OpenVINO is not installed; pip install "isthmus[openvino]"') from None
    return openvino.Core()


def _tensor(array: Array) -> tuple[Any, Array]:
    """The engine's view of an array, and the array it looks at."""
    import openvino

    ready = engine_ready(array)
    if not ready.flags.writeable:  # such as a tensor that still lies in its frame: the engine won't share it
        ready = ready.copy()
    return openvino.Tensor(ready, shared_memory=True), ready


def _spec(port: Any, name: str) -> TensorSpec:
    kind = port.get_element_type().get_type_name()
    shape = tuple(dim.get_length() if dim.is_static else None for dim in port.get_partial_shape())
    return TensorSpec(name, _DTYPES.get(kind, kind), shape)


def _output_name(port: Any) -> str:
    """The ONNX output's name. One tensor may bear several names, so the Result's own is what counts."""
    friendly: str = port.get_node().get_friendly_name()
    name = friendly.split("/sink_port_", maxsplit=1)[0]
    any_name: str = port.get_any_name()
    return name if name in port.get_names() else any_name


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""


def _compile_error(message: str) -> NodesError:
    if found := _UNSUPPORTED.search(message):
        op_type = found.group(1)
        return UnsupportedOperator(f"{NAME} does not support operator {op_type}", op_type=op_type, backend=NAME)
    return CompileError(f"{NAME}: {_one_line(message)}")


def _one_line(message: str) -> str:
    """The vendor's message without the places in its source, on one line."""
    kept = [line for line in message.splitlines() if not line.startswith(("Exception from src", "Check '"))]
    return " ".join(" ".join(kept).split())[:500]
