"""A narrow door to the CUDA runtime, by NVIDIA's cuda-bindings: memory, pinned memory, copies, a stream, graphs.

Every refusal of CUDA's is one line; what has no GPU, no driver and a driver too old are told apart. Pointers, streams
and graphs are plain integers. cuda-bindings imports without a GPU; nothing here starts a GPU until it is opened.
"""

import ctypes
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.errors import EngineMissing, RunError

INSTALL = 'pip install "cuda-bindings>=13,<14" (or <13 for a driver of CUDA 12)'
DEVICES = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu", "/dev/nvmap")))  # PC, WSL, two of Jetson


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that is here."""

    name: str
    compute_capability: str


class Cuda:
    """The runtime, on one device. RunError, naming the call and CUDA's own words, for whatever fails."""

    def __init__(self, runtime: Any, device: int = 0) -> None:
        self._runtime = runtime
        self._device = device

    def gpu(self) -> Gpu:
        """Which GPU this is."""
        found = self._ask("cudaGetDeviceProperties", self._device)
        return Gpu(found.name.split(b"\0")[0].decode(), f"{found.major}.{found.minor}")

    def use(self) -> None:
        """Make the device the calling thread's."""
        self._ask("cudaSetDevice", self._device)

    def allocate(self, nbytes: int) -> int:
        """Memory on the GPU."""
        return int(self._ask("cudaMalloc", nbytes))

    def free(self, pointer: int) -> None:
        """Give back what `allocate` gave."""
        self._ask("cudaFree", pointer)

    def pin(self, nbytes: int) -> NDArray[np.uint8]:
        """Page-locked host memory, which the GPU reads and writes by itself: bytes, not initialised."""
        pointer = int(self._ask("cudaMallocHost", nbytes))
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(pointer))

    def unpin(self, pinned: NDArray[np.uint8]) -> None:
        """Give back what `pin` gave; its arrays must not be touched again."""
        self._ask("cudaFreeHost", pinned.ctypes.data)

    def stream(self) -> int:
        """A stream of its own, that waits for no other."""
        return int(self._ask("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking))

    def close_stream(self, stream: int) -> None:
        """Give back a stream."""
        self._ask("cudaStreamDestroy", stream)

    def to_device(self, target: int, source: NDArray[np.uint8], nbytes: int, stream: int) -> None:
        """Copy from pinned memory, in the stream's turn."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask("cudaMemcpyAsync", target, source.ctypes.data, nbytes, kind, stream)

    def to_host(self, target: NDArray[np.uint8], source: int, nbytes: int, stream: int) -> None:
        """Copy to pinned memory, in the stream's turn."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask("cudaMemcpyAsync", target.ctypes.data, source, nbytes, kind, stream)

    def wait(self, stream: int) -> None:
        """Until all that the stream was given is done. What failed on the GPU meanwhile is raised here."""
        self._ask("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """From now on the stream records what it is given instead of doing it."""
        self._ask(
            "cudaStreamBeginCapture", stream, self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )

    def end_capture(self, stream: int) -> int:
        """A graph of what was recorded, ready to launch."""
        graph = self._ask("cudaStreamEndCapture", stream)
        try:
            return int(self._ask("cudaGraphInstantiate", graph, 0))
        finally:
            self._ask("cudaGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        """Do what was recorded."""
        self._ask("cudaGraphLaunch", graph, stream)

    def close_graph(self, graph: int) -> None:
        """Give back a graph."""
        self._ask("cudaGraphExecDestroy", graph)

    def _ask(self, call: str, *arguments: Any) -> Any:
        status, *made = getattr(self._runtime, call)(*arguments)
        if int(status) != 0:
            raise RunError(f"CUDA: {call}: {describe(self._runtime, status)}")
        return made[0] if made else None


def open_cuda(device: int = 0) -> Cuda:
    """The runtime with a GPU behind it. EngineMissing says in one line what is missing: bindings, driver or GPU."""
    runtime = import_runtime()
    status, count = runtime.cudaGetDeviceCount()
    if int(status) == int(runtime.cudaError_t.cudaErrorInsufficientDriver):
        raise EngineMissing(driver_fault(runtime.cudaDriverGetVersion()[1], runtime.cudaRuntimeGetVersion()[1]))
    if int(status) != 0:
        raise EngineMissing(f"no NVIDIA GPU can be used here: {describe(runtime, status)}")
    if device >= count:
        raise EngineMissing(f"no NVIDIA GPU number {device} is here, of {count}")
    return Cuda(runtime, device)


def import_runtime() -> Any:
    """NVIDIA's bindings; EngineMissing where they are absent."""
    try:
        return import_module("cuda.bindings.runtime")
    except ImportError:
        raise EngineMissing(f"the CUDA runtime's bindings are not installed; {INSTALL}") from None


def driver_fault(driver: int, runtime: int) -> str:
    """Why a driver is insufficient. Both are versions as CUDA counts them (13050 is 13.5), a driver of 0 is none."""
    if driver == 0:
        return "no NVIDIA driver is here, so no GPU can be used"
    have, need = (f"{version // 1000}.{version % 1000 // 10}" for version in (driver, runtime))
    return f"the NVIDIA driver is for CUDA {have}, too old for {need}: install a newer one, or {INSTALL}"


def describe(runtime: Any, status: Any) -> str:
    """CUDA's own words for an error."""
    words = runtime.cudaGetErrorString(status)[1]
    return words.decode() if isinstance(words, bytes) else str(words)
