"""What every backend must do, or refuse by name before compiling. One that isn't installed skips with its reason."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from isthmus.zoo.packages import file_in
from isthmus.zoo.photos import labels, photo
from nodes.artifact import FunctionStep, ModelStep, write
from nodes.backend import BACKENDS, Array, Backend, TensorSpec, installed_backends, load_backend
from nodes.errors import BadInput, CompileError, EngineMissing, RunError, UnsupportedOperator
from nodes.functions import function
from nodes.program import Program
from nodes.timing import sample_feeds, time_session
from tests.contracts.backend_models import (
    compiled_reference,
    halves,
    normalised_transformer,
    tokens,
    transformer,
    zoo_model,
)
from tests.contracts.refusals import refused, refuses
from tests.nodes.onnx_models import dense, ids_and_gain, info, model_of, node, random_weight, saved, two_inputs
from tests.nodes.processor import by_intel

# Largest difference to ONNX Runtime over the output's largest magnitude: float32 sums in another order; the narrow
# types keep 11 and 8 bits, through some 50 layers.
BOUNDS = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 8e-2}


HERE = installed_backends()
NEED_NO_DEVICE = {"onnxruntime", "openvino", "mnn", "tvm"} | ({"onnxruntime-openvino"} if by_intel() else set())


@pytest.fixture(params=HERE)
def backend(request: pytest.FixtureRequest) -> Backend:
    return load_backend(request.param)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name not in HERE])
def test_an_engine_that_is_not_here_says_why(name: str) -> None:
    with pytest.raises(EngineMissing) as caught:
        load_backend(name)
    assert "\n" not in str(caught.value)
    assert not (name in NEED_NO_DEVICE and os.environ.get("CI")), f"in CI {name} must be tested"
    pytest.skip(f"its contract: {caught.value}")


Tensors = dict[str, NDArray[Any]]


def batch_of(rows: int) -> Tensors:
    return {"x": np.random.default_rng(1).normal(size=(rows, 8)).astype(np.float32)}


def difference(have: Tensors, want: Tensors) -> float:
    """The largest over the outputs, relative to each output's largest magnitude."""
    assert list(have) == list(want)
    assert all((have[name].dtype, have[name].shape) == (want[name].dtype, want[name].shape) for name in want)
    return max(float(np.abs(have[name] - want[name]).max() / np.abs(want[name]).max()) for name in want)


def close(have: Array, want: NDArray[Any]) -> bool:
    return np.allclose(np.asarray(have, np.float32), want, rtol=1e-6)


PREPARING = (
    FunctionStep(function="decode_jpeg", inputs=("photo",), outputs=("picture",)),
    FunctionStep(
        function="resize", inputs=("picture",), outputs=("frame",), params={"size": [224, 224], "crop": 0.875}
    ),
    FunctionStep(
        function="normalise", inputs=("frame",), outputs=("input",), params={"mean": [127.0], "scale": [128.0]}
    ),
)


def coffee() -> Tensors:
    tensors: dict[str, Array] = {"photo": np.frombuffer(photo("coffee"), np.uint8)}
    for step in PREPARING:
        (tensors[step.outputs[0]],) = function(step.function).run(step.params, tensors[step.inputs[0]])
    return {"input": tensors["input"]}


def page(height: int | None, width: int | None) -> NDArray[Any]:
    """Printed text as the OCR models want it: float32 [1, 3, height, width] from -1 to 1."""
    with Image.open(file_in("skimage", "data/page.png")) as picture:
        part = picture.convert("RGB").crop((0, 0, 384, 191)).resize((width or 320, height or 48))
    return (np.asarray(part, np.float32).transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5


def test_capabilities_are_known_before_anything_compiles(backend: Backend) -> None:
    able = backend.capabilities()
    assert able.backend in BACKENDS
    assert able.version[0].isdigit()
    assert able.devices and "float32" in able.precisions


@pytest.mark.parametrize("form", [lambda model, folder: model.SerializeToString(), saved])
def test_a_model_loads_from_bytes_and_from_a_file(
    backend: Backend, form: Callable[[onnx.ModelProto, Path], bytes | Path], tmp_path: Path
) -> None:
    session = backend.compile(form(dense(), tmp_path))
    made = session.run(batch_of(1))
    assert close(made["y"], np.maximum(made["hidden"], 0))


def five_ids(backend: Backend) -> bytes:
    """The model of two inputs; for any number of ids where the engine can."""
    return two_inputs(5 if refuses(backend, "free shapes") else "n").SerializeToString()


def test_inputs_and_outputs_keep_names_order_dtypes_and_shapes(backend: Backend) -> None:
    session = backend.compile(five_ids(backend))
    shape = (5,) if refuses(backend, "free shapes") else (None,)
    assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [("ids", "int64", shape), ("gain", "float32", ())]
    assert [(s.name, s.dtype) for s in session.outputs] == [("scaled", "float32"), ("twice", "int64")]


def test_integers_and_floats_go_in_and_out(backend: Backend) -> None:
    made = backend.compile(five_ids(backend)).run(ids_and_gain())
    table = onnx.numpy_helper.to_array(two_inputs().graph.initializer[0])
    assert close(made["scaled"], table[[0, 1, 2, 3, 4]] * 2.5)
    np.testing.assert_array_equal(made["twice"], [0, 2, 4, 6, 8])


@pytest.mark.parametrize("rows", [1, 3, 2])
def test_a_free_batch_takes_any_number_of_rows(backend: Backend, rows: int) -> None:
    assert backend.capabilities().free_shapes is not refuses(backend, "free shapes")
    if refuses(backend, "free shapes"):
        with refused(backend, "free shapes"):
            backend.compile(dense("batch").SerializeToString())
        return
    session = backend.compile(dense("batch").SerializeToString())
    feeds = batch_of(rows)
    want = compiled_reference(dense(rows).SerializeToString()).run(feeds)
    assert difference(session.run(feeds), want) <= BOUNDS["float32"]


def test_one_tensor_under_two_output_names_keeps_both(backend: Backend) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["same"]), node("Identity", ["x"], ["through"])]
    model = model_of(nodes, [info("x", 2)], [info("same", 2), info("y", 2), info("through", 2)])
    made = backend.compile(model.SerializeToString()).run({"x": np.array([-1, 1], np.float32)})
    assert {name: array.tolist() for name, array in made.items()} == {"same": [0, 1], "y": [0, 1], "through": [-1, 1]}


def test_outputs_belong_to_the_caller(backend: Backend) -> None:
    session = backend.compile(dense().SerializeToString())
    first = session.run(batch_of(1))
    before = first["y"].copy()
    session.run({"x": np.full((1, 8), 9, np.float32)})
    session.close()
    np.testing.assert_array_equal(first["y"], before)
    assert first["y"].flags.writeable


def test_inputs_are_left_as_they_were(backend: Backend) -> None:
    feeds = batch_of(1)
    before = feeds["x"].copy()
    backend.compile(dense().SerializeToString()).run(feeds)
    np.testing.assert_array_equal(feeds["x"], before)


def stored_oddly(array: Array) -> Iterator[Array]:
    """The same values read-only, as a frame holds them; not aligned; strided; transposed; in the other byte order."""
    yield np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)
    yield np.frombuffer(b"-" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    yield np.repeat(array, 2, axis=1)[:, ::2]
    yield np.asfortranarray(array)
    yield array.astype(array.dtype.newbyteorder())


def test_values_count_however_they_lie_in_memory(backend: Backend) -> None:
    session = backend.compile(dense(20_000).SerializeToString())
    feeds = batch_of(20_000)  # large enough that memory freed too early goes back to the system
    want = session.run(feeds)["y"]
    for array in stored_oddly(feeds["x"]):
        np.testing.assert_array_equal(session.run({"x": array})["y"], want)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "ocr_detect", "ocr_read"])
def test_zoo_models_agree_with_onnx_runtime(backend: Backend, name: str) -> None:
    path = zoo_model(name)
    reference = compiled_reference(path)
    feeds = coffee() if name == "efficientnet_lite0" else {"x": page(*reference.inputs[0].shape[2:])}
    assert difference(backend.compile(path).run(feeds), reference.run(feeds)) <= BOUNDS["float32"]


@pytest.mark.slow
def test_functions_and_engine_together_recognise_a_photograph(backend: Backend, tmp_path: Path) -> None:
    """The model's file is the zoo's own, so that an engine which keeps what it compiled need not do so again."""
    shutil.copyfile(zoo_model("efficientnet_lite0"), tmp_path / "model.onnx")
    steps = [*PREPARING, ModelStep(onnx="model.onnx", inputs=("input",), outputs=("logits",))]
    given, made = TensorSpec("photo", "uint8", (None,)), TensorSpec("logits", "float32", (1, 1000))
    write(tmp_path, steps=steps, inputs=[given], outputs=[made])
    program = Program.load(tmp_path, backend=backend.capabilities().backend)
    logits = program.run({"photo": np.frombuffer(photo("coffee"), np.uint8)})["logits"]
    assert labels()[int(logits.argmax())] == "espresso"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_narrow_floats_keep_their_bound_or_are_refused(backend: Backend, precision: str) -> None:
    path = zoo_model("efficientnet_lite0")
    if precision not in backend.capabilities().precisions:
        with pytest.raises(CompileError, match=precision):
            backend.compile(path, precision=precision)
        return
    made, want = backend.compile(path, precision=precision).run(coffee()), compiled_reference(path).run(coffee())
    assert BOUNDS["float32"] < difference(made, want) <= BOUNDS[precision]
    assert made["logits"].argmax() == want["logits"].argmax()


def test_a_transformer_with_free_shapes_agrees_with_onnx_runtime(backend: Backend) -> None:
    model = transformer().SerializeToString()
    if refuses(backend, "free shapes"):
        with refused(backend, "free shapes"):
            backend.compile(model)
        return
    session, reference = backend.compile(model), compiled_reference(model)
    for length in (12, 9):
        assert difference(session.run(tokens(length)), reference.run(tokens(length))) <= BOUNDS["float32"]


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_pieces_of_a_transformer_make_the_whole(backend: Backend, part: float) -> None:
    model = normalised_transformer()
    front, back, crossing = halves(model, int(part * len(model.graph.operators)))
    tensors = {**tokens(), **backend.compile(front).run(tokens())}
    made = backend.compile(back).run({name: tensors[name] for name in crossing})
    want = compiled_reference(model.proto.SerializeToString()).run(tokens())
    assert difference(made, want) <= BOUNDS["float32"]


def ticks_by_thread() -> dict[str, int]:
    """CPU time (user and system, in clock ticks) of each thread of this process."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        found[task.name] = int(fields[11]) + int(fields[12])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_work_as_were_asked_for(backend: Backend, threads: int) -> None:
    """Counted by the CPU time each thread gains: engines keep idle ones, which do no harm.

    On a busy machine one thread may do all the work for a while, so two get up to 15 s to show themselves.
    """
    if "cpu" not in backend.capabilities().devices:
        pytest.skip("it computes elsewhere than on this machine's cores")
    session = backend.compile(zoo_model("ocr_detect"), threads=threads)
    feeds = sample_feeds(session.inputs)
    session.run(feeds)
    before = ticks_by_thread()
    busy: list[str] = []
    for _ in range(30):
        time_session(session, feeds, seconds=0.5)
        busy = [name for name, ticks in ticks_by_thread().items() if ticks - before.get(name, 0) >= 3]
        if len(busy) >= threads:
            break
    assert len(busy) == threads


def test_a_session_runs_from_another_thread_than_it_was_made_in(backend: Backend) -> None:
    session = backend.compile(dense().SerializeToString())
    made: list[Tensors] = []
    runner = Thread(target=lambda: made.append(session.run(batch_of(1))))
    runner.start()
    runner.join()
    np.testing.assert_array_equal(made[0]["y"], session.run(batch_of(1))["y"])


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def heavy() -> onnx.ModelProto:
    """Four products of 4 MB of weights each."""
    tensors = ["x", "a", "b", "c", "y"]
    nodes = [node("MatMul", [x, f"w{y}"], [y]) for x, y in pairwise(tensors)]
    weights = [random_weight(f"w{name}", 1024, 1024, seed=seed) for seed, name in enumerate(tensors[1:])]
    return model_of(nodes, [info("x", 1, 1024)], [info("y", 1, 1024)], weights)


@pytest.mark.slow
def test_closing_frees_what_compiling_took(backend: Backend, tmp_path: Path) -> None:
    """Ten sessions of a 16 MB model, one after the other, take less than four of them would together."""
    path = saved(heavy(), tmp_path)
    feeds = {"x": np.ones((1, 1024), np.float32)}

    def cycle() -> None:
        session = backend.compile(path)
        session.run(feeds)
        session.close()
        gc.collect()

    for _ in range(3):
        cycle()
    before = resident_bytes()
    for _ in range(10):
        cycle()
    assert resident_bytes() - before < 4 * path.stat().st_size


def test_a_closed_session_says_so(backend: Backend) -> None:
    session = backend.compile(dense().SerializeToString())
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run(batch_of(1))


def test_an_unsupported_operator_is_named(backend: Backend) -> None:
    model = model_of([node("Foo", ["x"], ["y"], "f", "made.up")], [info("x", 1)], [info("y", 1)], domains=["made.up"])
    with pytest.raises(UnsupportedOperator, match="Foo") as caught:
        backend.compile(model.SerializeToString())
    assert caught.value.backend == backend.capabilities().backend


def test_a_registered_function_is_no_engines_operator(backend: Backend) -> None:
    model = model_of(
        [node("resize", ["x"], ["y"], domain="isthmus")], [info("x", 1)], [info("y", 1)], domains=["isthmus"]
    )
    with pytest.raises(UnsupportedOperator, match="resize"):
        backend.compile(model.SerializeToString())


@pytest.mark.parametrize("model", [b"", b"no model at all", dense().SerializeToString()[:60]])
def test_bytes_that_are_no_model_are_refused_in_one_line(backend: Backend, model: bytes) -> None:
    with pytest.raises(CompileError) as caught:
        backend.compile(model)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(CompileError):
        backend.compile(tmp_path / "absent.onnx")


def test_an_unknown_precision_is_refused_by_name(backend: Backend) -> None:
    with pytest.raises(CompileError, match="float8"):
        backend.compile(dense().SerializeToString(), precision="float8")


def test_inputs_that_do_not_fit_are_named(backend: Backend) -> None:
    session = backend.compile(five_ids(backend))
    with pytest.raises(BadInput, match="'ids' is int32, must be int64; missing 'gain'; surplus 'more'"):
        session.run({"ids": np.zeros(2, np.int32), "more": np.zeros(1, np.float32)})


def test_free_shapes_that_contradict_each_other_are_a_run_error(backend: Backend) -> None:
    model = model_of([node("Add", ["x", "z"], ["y"])], [info("x", "m"), info("z", "n")], [info("y", "k")])
    if refuses(backend, "free shapes"):
        with refused(backend, "free shapes"):
            backend.compile(model.SerializeToString())
        return
    session = backend.compile(model.SerializeToString())
    with pytest.raises(RunError) as caught:
        session.run({"x": np.zeros(3, np.float32), "z": np.zeros(4, np.float32)})
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, BadInput)


@pytest.mark.slow
def test_a_profiled_session_times_its_kernels(backend: Backend) -> None:
    session = backend.compile(zoo_model("efficientnet_lite0"), profile=True)
    session.run(coffee())
    session.run(coffee())
    told = session.operator_s()
    assert (told is None) is refuses(backend, "kernel times")
    if told is None:
        return
    assert len(told) > 40 and all(seconds >= 0 for seconds in told.values()) and sum(told.values()) > 0
    session.close()


def test_a_session_compiled_without_profiling_tells_nothing(backend: Backend) -> None:
    assert backend.compile(dense().SerializeToString()).operator_s() is None
