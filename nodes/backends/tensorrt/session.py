"""Runs an engine on its GPU: pinned buffers, a stream of its own, and a CUDA graph where every shape is fixed.

Inputs are copied into pinned memory, from which the GPU fetches them by itself; outputs come back the same way and
are handed out as fresh arrays. Two sessions on one GPU overlap, since neither waits for the other's stream.
"""

import logging
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.backends.tensorrt.buffers import Buffers
from nodes.backends.tensorrt.building import Engine
from nodes.backends.tensorrt.cuda import Cuda
from nodes.backends.tensorrt.flavour import Vendor
from nodes.backends.tensorrt.layers import Layer, from_inspector
from nodes.backends.tensorrt.shapes import check_ranges
from nodes.errors import CompileError, RunError
from nodes.feeds import check_feeds

_log = logging.getLogger(__name__)


class TensorRtSession:
    """An engine on a GPU. One thread runs it at a time; its outputs belong to the caller.

    CompileError if this GPU refuses the engine. A graph is recorded after the first run, which is done without: some
    kernels are made when they are first used.
    """

    def __init__(
        self, vendor: Vendor, engine: Engine, cuda: Cuda, *, graph: bool = True, profile: bool = False
    ) -> None:
        self.inputs: tuple[TensorSpec, ...] = engine.inputs
        self.outputs: tuple[TensorSpec, ...] = engine.outputs
        self._vendor, self._cuda, self._ranges = vendor, cuda, engine.ranges
        self._fixed = all(None not in spec.shape for spec in self.inputs)
        self._wants_graph = graph and self._fixed and not profile
        self._graph: int | None = None
        cuda.use()
        loaded = load_plan(vendor, engine.plan)
        self._context: Any = _context(vendor, loaded)
        self._kernels_s: dict[str, list[float]] = defaultdict(list)
        if profile:
            names = _operators_by_layer(vendor, loaded)
            self._context.profiler = _profiler(vendor, _note(self._kernels_s, names))
        self._profile = profile
        with ExitStack() as undo:
            self._stream = cuda.stream()
            undo.callback(cuda.close_stream, self._stream)
            self._buffers = Buffers(cuda)
            undo.callback(self._buffers.free)
            self._plan_buffers()
            self._undo = undo.pop_all()
        # Whoever forgets to close leaves no memory on the GPU; at the interpreter's end CUDA cleans up by itself.
        self._release = weakref.finalize(self, self._undo.close)
        self._release.atexit = False

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors or shapes that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        if self._context is None:
            raise RunError(f"{self._vendor.name}: the session is closed")
        check_ranges(self._ranges, feeds)
        self._cuda.use()
        if not self._fixed:
            self._take_shapes({name: array.shape for name, array in feeds.items()})
        for spec in self.inputs:
            np.copyto(self._buffers.array(spec.name), feeds[spec.name])
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)
        self._cuda.wait(self._stream)
        made = {spec.name: np.array(self._buffers.array(spec.name)) for spec in self.outputs}
        if self._wants_graph and self._graph is None:
            self._record()
        return made

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`.

        A key names the operators that the kernel fuses, joined by commas; a copy of the engine's own has its own name.
        """
        return {name: median(times) for name, times in self._kernels_s.items()} if self._profile else None

    def close(self) -> None:
        """Free the GPU's and the pinned memory."""
        self._context = None
        self._release()

    def _plan_buffers(self) -> None:
        """Buffers for the likeliest shapes. An output whose shape the values decide is refused before any run."""
        with self._vendor.heard() as said:
            for spec in self.inputs:
                self._context.set_input_shape(spec.name, self._ranges[spec.name].best)
                self._give_buffer(spec, self._ranges[spec.name].best)
            for spec in self.outputs:
                shape = self._shape(spec.name)
                if any(dim < 0 for dim in shape):
                    why = f": {_last(said)}" if said else ""
                    raise CompileError(f"{self._vendor.name}: the shape of {spec.name!r} depends on values{why}")
                self._give_buffer(spec, shape)

    def _take_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        with self._vendor.heard() as said:
            for spec in self.inputs:
                if not self._context.set_input_shape(spec.name, shapes[spec.name]):
                    raise RunError(f"{self._vendor.name}: {spec.name!r} refused: {_last(said)}")
                self._give_buffer(spec, shapes[spec.name])
            for spec in self.outputs:
                shape = self._shape(spec.name)
                if any(dim < 0 for dim in shape):  # free shapes that contradict each other
                    raise RunError(f"{self._vendor.name}: no shape for {spec.name!r}: {_last(said)}")
                self._give_buffer(spec, shape)

    def _shape(self, name: str) -> tuple[int, ...]:
        try:
            return tuple(self._context.get_tensor_shape(name))
        except ValueError:  # how the vendor's Dims of -1 dimensions, its word for an error, shows in Python
            return (-1,)

    def _give_buffer(self, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        if self._buffers.fit(spec.name, spec.dtype, shape):
            self._context.set_tensor_address(spec.name, self._buffers.device(spec.name))

    def _enqueue(self) -> None:
        for spec in self.inputs:
            self._buffers.send(spec.name, self._stream)
        with self._vendor.heard() as said:
            if not self._context.execute_async_v3(self._stream):
                raise RunError(f"{self._vendor.name}: {_last(said)}")
        for spec in self.outputs:
            self._buffers.fetch(spec.name, self._stream)

    def _record(self) -> None:
        """One launch instead of one a kernel, from the next run on. An engine that can't be recorded runs as before."""
        self._wants_graph = False
        try:
            self._cuda.begin_capture(self._stream)
            try:
                self._enqueue()
            finally:  # a stream left recording would do nothing any more
                graph = self._cuda.end_capture(self._stream)
        except RunError as error:
            _log.info("runs without a CUDA graph: %s", error)
            return
        self._graph = graph
        self._undo.callback(self._cuda.close_graph, graph)


def load_plan(vendor: Vendor, plan: bytes) -> Any:
    """The vendor's engine object. CompileError, in its words, if this GPU can't take it or there is none."""
    with vendor.heard() as said:
        loaded = vendor.module.Runtime(vendor.log).deserialize_cuda_engine(plan)
    if loaded is None:
        raise CompileError(f"{vendor.name} {vendor.version}: the engine does not load: {_last(said)}")
    return loaded


def _context(vendor: Vendor, loaded: Any) -> Any:
    with vendor.heard() as said:
        context = loaded.create_execution_context()
    if context is None:  # mostly for want of memory
        raise CompileError(f"{vendor.name} {vendor.version}: the engine does not start: {_last(said)}")
    return context


def layers_of(vendor: Vendor, loaded: Any) -> tuple[Layer, ...]:
    """What the inspector of a loaded engine tells."""
    form = vendor.module.LayerInformationFormat.JSON
    return from_inspector(loaded.create_engine_inspector().get_engine_information(form))


def _operators_by_layer(vendor: Vendor, loaded: Any) -> Callable[[str], str]:
    known = {layer.name: ",".join(layer.operators) or layer.name for layer in layers_of(vendor, loaded)}
    return lambda layer: known.get(layer, layer)


def _note(kernels_s: dict[str, list[float]], names: Callable[[str], str]) -> Callable[[str, float], None]:
    # Holds no session: the vendor's objects keep what they are given out of the garbage collector's sight.
    return lambda layer, seconds: kernels_s[names(layer)].append(seconds)


def _profiler(vendor: Vendor, note: Callable[[str, float], None]) -> Any:
    class Profiler(vendor.module.IProfiler):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            vendor.module.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            note(layer_name, ms * 1e-3)

    return Profiler()


def _last(said: list[str]) -> str:
    return " ".join(said[-1].partition(" ")[2].split())[:500] if said else "no reason given"
