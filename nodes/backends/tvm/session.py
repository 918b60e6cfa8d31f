"""A compiled model as a session, run by TVM's relax virtual machine from the library that `build` exported."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.backends.tvm.build import LIBRARY, read_listing, read_origins
from nodes.backends.tvm.kernel_times import KernelTimes
from nodes.backends.tvm.vendor import NAME, one_line, tvm
from nodes.errors import CompileError, RunError
from nodes.feeds import check_feeds, engine_ready
from nodes.held import BFLOAT16, as_held

_ALIGNED = 64  # bytes: kernels load whole vectors
_here = threading.local()


class TvmSession:
    """A compiled model. Aligned inputs are read in place, others copied into the engine's own buffers."""

    def __init__(
        self,
        machine: Any,
        specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
        threads: int,
        times: KernelTimes | None = None,
    ) -> None:
        self.inputs, self.outputs = (tuple(side) for side in specs)
        self._machine = machine
        self._threads = threads
        self._times = times
        self._buffers = {spec.name: _buffer(spec) for spec in self.inputs}
        self._bits = {spec.name for spec in self.inputs if spec.dtype == BFLOAT16}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        if self._machine is None:
            raise RunError(f"{NAME}: the session is closed")
        try:
            use_threads(self._threads)
            made = self._machine["main"](*(self._tensor(spec.name, feeds[spec.name]) for spec in self.inputs))
            if self._times is not None:
                self._times.end_of_run()
            values = [made] if len(self.outputs) == 1 and hasattr(made, "numpy") else list(made)
            return {spec.name: as_held(value.numpy()) for spec, value in zip(self.outputs, values, strict=True)}
        except Exception as error:
            raise RunError(f"{NAME}: {one_line(error)}") from None

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run of each kernel, by the operator that it mainly computes; None if not profiled."""
        return self._times.medians() if self._times is not None else None

    def close(self) -> None:
        """Free the engine's memory, its pool of spare buffers included."""
        if self._machine is not None:
            self._machine = None
            self._buffers = {}
            tvm().get_global_func("vm.builtin.memory_manager.clear")()

    def _tensor(self, name: str, array: Array) -> Any:
        """The engine's view of an array, or its own copy of it."""
        ready = engine_ready(array)
        is_told = name not in self._bits  # what numpy has no type for is read as what holds it
        if is_told and ready.flags.writeable and ready.ctypes.data % _ALIGNED == 0 and ready.size:
            return tvm().runtime.from_dlpack(ready)
        buffer = self._buffers[name]
        buffer.copyfrom(ready)
        return buffer


def open_session(folder: Path, *, threads: int, profile: bool = False) -> TvmSession:
    """The session of what `build` put into the folder. CompileError if its library doesn't load here."""
    times = KernelTimes(read_origins(folder)) if profile else None
    runtime = tvm()
    from tvm import relax
    from tvm_ffi import load_module

    try:
        module = load_module(str(folder / LIBRARY), keep_module_alive=False)  # TVM's own load_module never frees it
        machine = relax.VirtualMachine(module, runtime.cpu())
        if times is not None:
            machine.set_instrument(times.seen)
    except Exception as error:
        raise CompileError(f"{NAME} cannot load what it compiled: {one_line(error)}") from None
    return TvmSession(machine, read_listing(folder), threads, times)


def use_threads(threads: int) -> None:
    """As many of TVM's threads for what this thread runs next; each calling thread has a pool of its own."""
    if getattr(_here, "threads", None) != threads:
        tvm().get_global_func("runtime.config_threadpool")(1, threads)
        _here.threads = threads


def _buffer(spec: TensorSpec) -> Any:
    shape = tuple(dim or 0 for dim in spec.shape)
    if spec.dtype == BFLOAT16:
        return tvm().runtime.empty(shape, BFLOAT16)
    return tvm().runtime.tensor(np.zeros(shape, spec.dtype))
