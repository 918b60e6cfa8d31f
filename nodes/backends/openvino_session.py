"""A model that OpenVINO compiled: runs it, once or several times at once, and times its kernels.

Free shapes that contradict each other make the engine read beside its tensors. So each new combination of input
shapes is first propagated through the model, which takes a millisecond, and refused there.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import median
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import CompileError, NodesError, RunError, UnsupportedOperator
from nodes.feeds import check_feeds, describe, engine_ready
from nodes.held import BFLOAT16, STRING

NAME = "openvino"
MOST_SHAPES = 4096  # combinations remembered as sound

_DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "string": "string",
}  # fmt: skip

# "-- No conversion rule found for operations: custom.x.Foo, Bar-17", "-- Conversion is failed for: Foo-17"
_UNSUPPORTED = re.compile(r"(?:No conversion rule found for operations|Conversion is failed for): ([\w.]+)(?:-\d+)?")


class OpenVinoSession:
    """A compiled model. Writable inputs are read in place, outputs copied out of the engine's own buffers.

    `devices` are those it runs on.
    """

    def __init__(self, compiled: Any, *, source: Any, profile: bool, streams: int, held: object = None) -> None:
        self.inputs = tuple(_spec(port, port.get_any_name()) for port in compiled.inputs)
        self.outputs = tuple(_spec(port, _output_name(port)) for port in compiled.outputs)
        self.devices = tuple(str(name).lower() for name in compiled.get_property("EXECUTION_DEVICES"))
        self._names = tuple((index, spec.name) for index, spec in enumerate(self.outputs))
        if text := [describe(spec) for spec in (*self.inputs, *self.outputs) if spec.dtype == STRING]:
            raise CompileError(f"{NAME} is given no text here, and {text[0]} is; onnxruntime takes it")
        self._bits = tuple(spec.name for spec in self.outputs if spec.dtype == BFLOAT16)
        self._compiled = compiled
        self._request: Any = compiled.create_infer_request()
        self._streams = streams
        self._queue: Any = None
        self._profile = profile
        self._kernels_s: dict[str, list[float]] = defaultdict(list)
        self._source: Any = source if any(None in spec.shape for spec in self.inputs) else None
        self._sound: set[tuple[tuple[int, ...], ...]] = set()
        self._held = held  # memory that the engine reads without owning it

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        self._check(feeds)
        try:
            # The engine reads shared memory without owning it: the tensors must outlive the inference.
            tensors = [_tensor(spec, feeds[spec.name]) for spec in self.inputs]
            for index, (tensor, _) in enumerate(tensors):
                self._request.set_input_tensor(index, tensor)
            self._request.infer()
            if self._profile:
                self._record()
            return self._outputs(self._request)
        except Exception as error:
            raise RunError(f"{NAME}: {one_line(str(error))}") from None

    def run_many(self, batch: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """The outputs of each in the order given, `streams` of them under way at once.

        BadInput before anything runs if one doesn't fit; RunError if one fails, and then no outputs.
        """
        for feeds in batch:
            self._check(feeds)
        made: list[dict[str, Array]] = [{} for _ in batch]
        tensors = [[_tensor(spec, feeds[spec.name]) for spec in self.inputs] for feeds in batch]

        def done(request: Any, at: int) -> None:
            made[at] = self._outputs(request)

        try:
            queue = self._queue = self._queue or self._new_queue()
            queue.set_callback(done)
            for at, row in enumerate(tensors):
                queue.start_async({index: tensor for index, (tensor, _) in enumerate(row)}, at, share_inputs=True)
            queue.wait_all()
        except Exception as error:
            self._drop_queue()
            raise RunError(f"{NAME}: {one_line(str(error))}") from None
        return made

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`; `run_many` is not counted.

        A key names the operators that the kernel fuses, joined by commas.
        """
        if not self._profile:
            return None
        return {name: median(times) for name, times in self._kernels_s.items()}

    def close(self) -> None:
        """Free the engine's memory."""
        self._request = self._queue = self._compiled = self._source = self._held = None

    def _check(self, feeds: Mapping[str, Array]) -> None:
        check_feeds(self.inputs, feeds)
        if self._request is None:
            raise RunError(f"{NAME}: the session is closed")
        if self._source is None:
            return
        shapes = tuple(feeds[spec.name].shape for spec in self.inputs)
        if shapes not in self._sound:
            self._propagate(shapes)

    def _propagate(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        import openvino

        try:
            self._source.clone().reshape({index: openvino.PartialShape(shape) for index, shape in enumerate(shapes)})
        except Exception as error:
            given = ", ".join(f"{spec.name} {list(shape)}" for spec, shape in zip(self.inputs, shapes, strict=True))
            raise RunError(f"{NAME}: shapes {given} do not go together: {one_line(str(error))}") from None
        if len(self._sound) >= MOST_SHAPES:
            self._sound.clear()
        self._sound.add(shapes)

    def _outputs(self, request: Any) -> dict[str, Array]:
        made = {name: np.array(request.get_output_tensor(index).data) for index, name in self._names}
        return made | {name: made[name].view(np.uint16) for name in self._bits}

    def _new_queue(self) -> Any:
        import openvino

        return openvino.AsyncInferQueue(self._compiled, self._streams)

    def _drop_queue(self) -> None:
        """A queue in which an inference failed would tell of it for ever; the others' tensors must outlive them."""
        with suppress(Exception):  # told already
            self._queue.wait_all()
        self._queue = None

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


def compile_error(message: str) -> NodesError:
    """The engine's message as ours: UnsupportedOperator where it says so, else CompileError."""
    if found := _UNSUPPORTED.search(message):
        op_type = found.group(1)
        return UnsupportedOperator(f"{NAME} does not support operator {op_type}", op_type=op_type, backend=NAME)
    return CompileError(f"{NAME}: {one_line(message)}")


def one_line(message: str) -> str:
    """The vendor's message without the places in its source, on one line."""
    kept = [line for line in message.splitlines() if not line.startswith(("Exception from src", "Check '"))]
    return " ".join(" ".join(kept).split())[:500]


def _tensor(spec: TensorSpec, array: Array) -> tuple[Any, Array]:
    """The engine's view of an array, and the array it looks at."""
    import openvino

    ready = engine_ready(array)
    if not ready.flags.writeable:  # such as a tensor that still lies in its frame: the engine won't share it
        ready = ready.copy()
    if spec.dtype == BFLOAT16:
        return openvino.Tensor(ready, openvino.Shape(ready.shape), openvino.Type.bf16), ready
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
