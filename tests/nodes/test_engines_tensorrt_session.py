"""TensorRT's running half, of which no part can run without a GPU: its logic, against a CUDA and an engine played here.

The played GPU does what a stream holds when the stream is waited for and not before, so a copy, a launch or a wait
that is missing or out of order gives wrong numbers. The true door is knocked at too: without a driver each of its
calls must come back as CUDA's own refusal, which shows that CUDA takes the arguments.
"""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from nodes.backend import TensorSpec
from nodes.backends.tensorrt import cuda as door
from nodes.backends.tensorrt.building import Engine
from nodes.backends.tensorrt.cuda import Cuda, driver_fault, import_runtime, open_cuda
from nodes.backends.tensorrt.flavour import Api, Vendor
from nodes.backends.tensorrt.session import TensorRtSession
from nodes.backends.tensorrt.shapes import ShapeRange
from nodes.backends.tensorrt.timing_cache import open_timing_cache
from nodes.errors import BadInput, CompileError, EngineMissing, RunError

Pinned = NDArray[np.uint8]


class PlayedCuda:
    """A GPU of Python: memory by address, streams as lists of work, graphs as work recorded."""

    def __init__(self, *, captures: bool = True, room: int = 1 << 20) -> None:
        self.memory: dict[int, Pinned] = {}
        self.pinned = 0
        self.work: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = self.captures = 0
        self._captures, self._room, self._next = captures, room, 1

    def _handle(self) -> int:
        self._next += 1
        return self._next

    def use(self) -> None:
        return None

    def allocate(self, nbytes: int) -> int:
        if nbytes > self._room:
            raise RunError("CUDA: cudaMalloc: out of memory")
        address = self._handle()
        self.memory[address] = np.zeros(nbytes, np.uint8)
        return address

    def free(self, pointer: int) -> None:
        del self.memory[pointer]

    def pin(self, nbytes: int) -> Pinned:
        self.pinned += 1
        return np.zeros(nbytes, np.uint8)

    def unpin(self, pinned: Pinned) -> None:
        self.pinned -= 1

    def stream(self) -> int:
        self.work[stream := self._handle()] = []
        return stream

    def close_stream(self, stream: int) -> None:
        del self.work[stream]

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        (self.work[stream] if self.recording is None else self.recording).append(work)

    def to_device(self, target: int, source: Pinned, nbytes: int, stream: int) -> None:
        self.enqueue(stream, lambda: self.memory[target].__setitem__(slice(nbytes), source[:nbytes]))

    def to_host(self, target: Pinned, source: int, nbytes: int, stream: int) -> None:
        self.enqueue(stream, lambda: target.__setitem__(slice(nbytes), self.memory[source][:nbytes]))

    def wait(self, stream: int) -> None:
        for work in self.work[stream]:
            work()
        self.work[stream].clear()

    def begin_capture(self, stream: int) -> None:
        self.recording = []
        self.captures += 1

    def end_capture(self, stream: int) -> int:
        recorded, self.recording = self.recording or [], None
        if not self._captures:
            raise RunError("CUDA: cudaStreamEndCapture: operation failed due to a previous error during capture")
        self.graphs[graph := self._handle()] = recorded
        return graph

    def launch(self, graph: int, stream: int) -> None:
        self.launches += 1
        self.work[stream] += self.graphs[graph]

    def close_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def holds(self) -> tuple[int, int, int, int]:
        """Pieces of memory, of pinned memory, streams and graphs that are not given back."""
        return len(self.memory), self.pinned, len(self.work), len(self.graphs)


class NoDims(tuple[int, ...]):
    """The vendor's shape of what it has no shape for."""

    def __iter__(self) -> Any:
        raise ValueError("__len__() should return >= 0")


class PlayedContext:
    """An engine that doubles x [rows, 3] into y and gives its rows, an int64 scalar, as n."""

    profiler: Any = None

    def __init__(self, cuda: PlayedCuda, log: Any, *, fails: bool = False, of_values: bool = False) -> None:
        self._cuda, self._log, self._fails, self._of_values = cuda, log, fails, of_values
        self.rows = 0
        self.told: list[str] = []
        self._at: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        if shape[0] == 5:
            self._say("shapes contradict each other")
            return False
        self.rows = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self.rows == 6:
            return NoDims()
        return () if name == "n" else (-1 if self._of_values else self.rows, 3)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.told.append(name)
        self._at[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self._fails:
            self._say("illegal memory access")
            return False
        rows, memory = self.rows, self._cuda.memory
        if self.profiler is not None:
            self.profiler.report_layer_time("kernel_0", 2.0)

        def work() -> None:
            x = memory[self._at["x"]].view(np.float32)[: rows * 3]
            memory[self._at["y"]].view(np.float32)[: rows * 3] = 2 * x
            memory[self._at["n"]].view(np.int64)[0] = rows

        self._cuda.enqueue(stream, work)
        return True

    def _say(self, words: str) -> None:
        for listener in self._log.listeners:
            listener.append(f"ERROR {words}")


class Played:
    """A vendor, an engine and a GPU."""

    def __init__(self, rows: int | None = 2, *, context: bool = True, captures: bool = True, **faults: bool) -> None:
        self.cuda = PlayedCuda(captures=captures)
        log = SimpleNamespace(listeners=[])
        self.context = PlayedContext(self.cuda, log, **faults)
        layer = {"Name": "kernel_0", "LayerType": "gemm", "Metadata": "[ONNX Layer: a]\x1f[ONNX Layer: b]"}
        told = json.dumps({"Layers": [layer]})
        loaded = SimpleNamespace(
            create_execution_context=lambda: self.context if context else None,
            create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda form: told),
        )
        module = SimpleNamespace(
            Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda plan: loaded),
            IProfiler=type("IProfiler", (), {}),
            LayerInformationFormat=SimpleNamespace(JSON=1),
        )
        self.vendor = Vendor("tensorrt", "11.0", module, Api(), log)
        most = rows or 8
        self.engine = Engine(
            plan=b"",
            inputs=(TensorSpec("x", "float32", (rows, 3)),),
            outputs=(TensorSpec("n", "int64", ()), TensorSpec("y", "float32", (rows, 3))),
            ranges={"x": ShapeRange((rows or 1, 3), (rows or 2, 3), (most, 3))},
            layers=(),
        )

    def session(self, **how: bool) -> TensorRtSession:
        return TensorRtSession(self.vendor, self.engine, cast("Cuda", self.cuda), **how)


def rows_of(count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)}


def check_run(session: TensorRtSession, count: int, seed: int = 0) -> None:
    feeds = rows_of(count, seed)
    made = session.run(feeds)
    assert list(made) == ["n", "y"] and made["n"] == count and made["n"].shape == ()
    np.testing.assert_array_equal(made["y"], 2 * feeds["x"])


def test_fixed_shapes_are_launched_as_a_graph_from_the_second_run_on() -> None:
    played = Played()
    session = played.session()
    for run in range(4):
        check_run(session, 2, seed=run)
    assert played.cuda.launches == 3


@pytest.mark.parametrize("how", [{"graph": False}, {"profile": True}])
def test_no_graph_where_none_is_wanted_or_kernels_are_timed(how: dict[str, bool]) -> None:
    played = Played()
    session = played.session(**how)
    check_run(session, 2)
    check_run(session, 2, seed=1)
    assert (played.cuda.launches, played.cuda.graphs) == (0, {})


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph() -> None:
    played = Played(captures=False)
    session = played.session()
    for run in range(3):
        check_run(session, 2, seed=run)
    assert (played.cuda.launches, played.cuda.captures) == (0, 1)
    assert played.cuda.recording is None


def test_free_shapes_follow_the_feeds_and_buffers_only_grow() -> None:
    played = Played(rows=None)
    session = played.session()
    del played.context.told[:]
    for run, count in enumerate((2, 1, 4, 3, 8)):
        check_run(session, count, seed=run)
    assert played.context.told == [
        "x",
        "y",
        "x",
        "y",
    ]  # at 4 and at 8 rows; the likeliest, 2, were there from the start
    assert played.cuda.launches == 0
    assert len(played.cuda.memory) == 3


def test_a_shape_outside_the_range_is_refused_before_the_engine_sees_it() -> None:
    played = Played(rows=None)
    session = played.session()
    with pytest.raises(BadInput, match=r"'x' has shape \[9, 3\], the engine was built for 1x3:2x3:8x3"):
        session.run(rows_of(9))
    assert played.context.rows == 2
    with pytest.raises(BadInput, match="'x' is float64, must be float32"):
        session.run({"x": np.zeros((2, 3))})


def test_free_shapes_that_the_engine_refuses_are_a_run_error_in_its_words() -> None:
    session = Played(rows=None).session()
    with pytest.raises(RunError, match="no shape for 'n'"):
        session.run(rows_of(6))
    with pytest.raises(RunError, match=r"^tensorrt: 'x' refused: shapes contradict each other$") as caught:
        session.run(rows_of(5))
    assert not isinstance(caught.value, BadInput)


def test_outputs_belong_to_the_caller_and_inputs_may_lie_anyhow() -> None:
    session = Played().session()
    feeds = {"x": np.asfortranarray(rows_of(2)["x"])}
    first = session.run(feeds)["y"]
    kept = first.copy()
    check_run(session, 2, seed=7)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable and first.flags.owndata


def test_what_the_engine_fails_with_is_a_run_error_in_its_words() -> None:
    session = Played(fails=True).session()
    with pytest.raises(RunError, match=r"^tensorrt: illegal memory access$"):
        session.run(rows_of(2))


def test_closing_gives_everything_back_and_a_closed_session_says_so() -> None:
    played = Played()
    session = played.session()
    check_run(session, 2)
    check_run(session, 2)
    assert played.cuda.holds() == (3, 3, 1, 1)
    session.close()
    session.close()
    assert played.cuda.holds() == (0, 0, 0, 0)
    with pytest.raises(RunError, match="closed"):
        session.run(rows_of(2))


@pytest.mark.parametrize("how", [{}, {"profile": True}])
def test_a_forgotten_session_gives_everything_back_too(how: dict[str, bool]) -> None:
    played = Played()
    session = played.session(**how)
    check_run(session, 2)
    del session
    gc.collect()
    assert played.cuda.holds() == (0, 0, 0, 0)


def test_an_output_whose_shape_is_in_the_values_is_refused_before_any_run() -> None:
    played = Played(of_values=True)
    with pytest.raises(CompileError, match="the shape of 'y' depends on values"):
        played.session()
    assert played.cuda.holds() == (0, 0, 0, 0)


def test_too_little_memory_leaves_none_taken() -> None:
    played = Played()
    played.cuda = played.context._cuda = PlayedCuda(room=8)
    with pytest.raises(RunError, match="out of memory"):
        played.session()
    assert played.cuda.holds() == (0, 0, 0, 0)


def test_an_engine_that_does_not_start_is_a_compile_error() -> None:
    with pytest.raises(CompileError, match=r"^tensorrt 11\.0: the engine does not start"):
        Played(context=False).session()


def test_timed_kernels_are_told_by_the_operators_they_run() -> None:
    session = Played().session(profile=True)
    check_run(session, 2)
    assert list((session.operator_s() or {}).items()) == [("a,b", 0.002)]
    assert Played().session().operator_s() is None


class PickyConfig:
    """A builder's configuration that takes a timing cache of its own or an empty one."""

    given: bytes | None = None

    def create_timing_cache(self, content: bytes) -> bytes | None:
        return None if content == b"torn" else content

    def set_timing_cache(self, cache: bytes, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.given = cache
        return cache in (b"own", b"")


@pytest.mark.parametrize(("kept", "given"), [(b"own", b"own"), (b"another driver's", b""), (b"torn", b""), (None, b"")])
def test_a_timing_cache_that_is_refused_is_begun_anew(kept: bytes | None, given: bytes, tmp_path: Path) -> None:
    path = tmp_path / "timing"
    if kept is not None:
        path.write_bytes(kept)
    config = PickyConfig()
    assert open_timing_cache(Played().vendor, config, path) == config.given == given


# The true door.


@pytest.fixture
def runtime() -> Any:
    try:
        return import_runtime()
    except EngineMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def without_gpu(runtime: Any) -> Any:
    if any(device.exists() for device in door.DEVICES):
        pytest.skip("needs a machine without an NVIDIA GPU")
    return runtime


def test_no_driver_and_one_too_old_are_told_apart() -> None:
    assert driver_fault(0, 13050) == "no NVIDIA driver is here, so no GPU can be used"
    assert driver_fault(12040, 13050).startswith("the NVIDIA driver is for CUDA 12.4, too old for 13.5: ")


def test_opening_cuda_without_a_driver_says_so(without_gpu: Any) -> None:
    with pytest.raises(EngineMissing, match=r"^no NVIDIA driver is here"):
        open_cuda()


def test_missing_bindings_are_named_with_their_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(EngineMissing, match='pip install "cuda-bindings'):
        import_runtime()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("cudaGetDeviceProperties", lambda cuda, _: cuda.gpu()),
        ("cudaSetDevice", lambda cuda, _: cuda.use()),
        ("cudaMalloc", lambda cuda, _: cuda.allocate(8)),
        ("cudaFree", lambda cuda, _: cuda.free(8)),
        ("cudaMallocHost", lambda cuda, _: cuda.pin(8)),
        ("cudaFreeHost", lambda cuda, piece: cuda.unpin(piece)),
        ("cudaStreamCreateWithFlags", lambda cuda, _: cuda.stream()),
        ("cudaStreamDestroy", lambda cuda, _: cuda.close_stream(8)),
        ("cudaMemcpyAsync", lambda cuda, piece: cuda.to_device(8, piece, 8, 8)),
        ("cudaMemcpyAsync", lambda cuda, piece: cuda.to_host(piece, 8, 8, 8)),
        ("cudaStreamSynchronize", lambda cuda, _: cuda.wait(8)),
        ("cudaStreamBeginCapture", lambda cuda, _: cuda.begin_capture(8)),
        ("cudaStreamEndCapture", lambda cuda, _: cuda.end_capture(8)),
        ("cudaGraphLaunch", lambda cuda, _: cuda.launch(8, 8)),
        ("cudaGraphExecDestroy", lambda cuda, _: cuda.close_graph(8)),
    ],
)
def test_cuda_takes_the_arguments_and_refuses_in_its_words(
    without_gpu: Any, name: str, call: Callable[[Cuda, Pinned], object]
) -> None:
    with pytest.raises(RunError, match=f"^CUDA: {name}: CUDA driver version is insufficient"):
        call(Cuda(without_gpu), np.zeros(8, np.uint8))


def test_a_recording_is_made_a_graph_by_cuda(without_gpu: Any) -> None:
    success = without_gpu.cudaError_t(0)
    recorded = {"cudaStreamEndCapture": (success, without_gpu.cudaGraph_t(8)), "cudaGraphDestroy": (success,)}
    with pytest.raises(RunError, match=r"^CUDA: cudaGraphInstantiate: CUDA driver version is insufficient"):
        Cuda(AnsweringRuntime(without_gpu, **recorded)).end_capture(8)


class AnsweringRuntime:
    """NVIDIA's bindings with some calls answered otherwise."""

    def __init__(self, true: Any, **answers: Any) -> None:
        self._true, self._answers = true, answers

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: self._answers[name]) if name in self._answers else getattr(self._true, name)


@pytest.mark.parametrize(
    ("status", "count", "said"), [(100, None, "no CUDA-capable device"), (0, 1, "number 1 is here, of 1")]
)
def test_a_driver_without_the_gpu_is_told_in_cuda_s_words(
    runtime: Any, monkeypatch: pytest.MonkeyPatch, status: int, count: int | None, said: str
) -> None:
    answer = (runtime.cudaError_t(status), count)
    monkeypatch.setattr(door, "import_runtime", lambda: AnsweringRuntime(runtime, cudaGetDeviceCount=answer))
    with pytest.raises(EngineMissing, match=said):
        open_cuda(device=1)
