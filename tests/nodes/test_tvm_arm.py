"""Models compiled for other machines: the folder runs there, on real weights, and answers as ONNX Runtime does."""

import json
from pathlib import Path

import numpy as np
import pytest

from isthmus.zoo.photos import labels
from nodes.backend import Array, TensorSpec, load_backend
from nodes.backends.tvm import cross
from nodes.backends.tvm.arm_export import Exported, export, tensors_text
from nodes.backends.tvm.cross import compiler, runtime
from nodes.backends.tvm.targets import known_targets, target
from nodes.errors import CompileError, EngineMissing
from tests.contracts.backend_models import compiled_reference, zoo_model
from tests.contracts.test_backends import BOUNDS, Tensors, coffee, difference
from tests.nodes.boards import HERE, Board, board, lacking, needs
from tests.nodes.onnx_models import INT64, dense, info, model_of, node, random_weight

try:
    load_backend("tvm")
except (EngineMissing, KeyError) as error:
    lacking(str(error))


def embedding() -> bytes:
    """Five int64 ids and a float → their rows of a table, scaled; the ids, doubled; which numbers grew, as bool."""
    nodes = [
        node("Gather", ["table", "ids"], ["rows"]),
        node("Mul", ["rows", "gain"], ["scaled"]),
        node("Add", ["ids", "ids"], ["twice"]),
        node("Greater", ["scaled", "rows"], ["more/grown"]),
    ]
    outputs = [info("scaled", 5, 3), info("twice", 5, dtype=INT64), info("more/grown", 5, 3, dtype=9)]
    inputs = [info("ids", 5, dtype=INT64), info("gain")]
    return model_of(nodes, inputs, outputs, [random_weight("table", 9, 3)]).SerializeToString()


EMBEDDED = {"ids": np.array([0, 8, 3, 3, 1]), "gain": np.array(2.5, np.float32)}


def run_folder(device: Board, made: Exported, feeds: Tensors, place: Path, *options: str) -> dict[str, Array]:
    files = []
    for number, (name, array) in enumerate(feeds.items()):
        np.save(place / f"in-{number}.npy", array)
        files.append(f"{name}={place}/in-{number}.npy")
    folder = str(made.folder)
    done = device.run(made.folder / "runner", folder, "--out", str(place), *options, *files)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_s"] > 0
    return {spec.name: np.load(place / f"{spec.name.replace('/', '_')}.npy") for spec in made.outputs}


@pytest.mark.slow
def test_a_cortex_a72_recognises_a_photograph(tmp_path: Path) -> None:
    path = zoo_model("efficientnet_lite0")
    made = export(path, "cortex-a72", tmp_path / "board")
    answer = run_folder(board("aarch64", "cortex-a72"), made, coffee(), tmp_path, "--threads", "1")
    assert difference(answer, compiled_reference(path).run(coffee())) <= BOUNDS["float32"]
    assert labels()[int(answer["logits"].argmax())] == "espresso"
    assert made.size_bytes < 45e6
    assert not (made.folder / "libtvm_compiler.so").exists()
    assert "rpc_server" in (made.folder / "README").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)  # it compiles a runtime first
def test_a_riscv64_recognises_a_photograph_with_a_runtime_built_here(tmp_path: Path) -> None:
    path = zoo_model("efficientnet_lite0")
    made = export(path, "riscv64", tmp_path / "board")
    answer = run_folder(board("riscv64", "rv64"), made, coffee(), tmp_path)
    assert difference(answer, compiled_reference(path).run(coffee())) <= BOUNDS["float32"]
    assert labels()[int(answer["logits"].argmax())] == "espresso"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["host", "cortex-a53"])
def test_a_folder_takes_and_gives_several_tensors_of_any_type(name: str, tmp_path: Path) -> None:
    device = HERE if name == "host" else board("aarch64", "cortex-a53")
    made = export(embedding(), name, tmp_path / "board")
    answer = run_folder(device, made, EMBEDDED, tmp_path)
    want = compiled_reference(embedding()).run(EMBEDDED)
    assert all(answer[key].dtype == want[key].dtype for key in want)
    for key in want:
        np.testing.assert_array_equal(answer[key], want[key])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(embedding(), "host", tmp_path_factory.mktemp("tvm") / "board")


@pytest.mark.slow
def test_raw_bytes_do_as_well_as_npy(here: Exported, tmp_path: Path) -> None:
    for name, array in EMBEDDED.items():
        array.tofile(tmp_path / name)
    files = [f"{name}={tmp_path / name}" for name in EMBEDDED]
    assert HERE.run(here.folder / "runner", str(here.folder), "--out", str(tmp_path), *files).returncode == 0
    np.testing.assert_array_equal(np.load(tmp_path / "twice.npy"), EMBEDDED["ids"] * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "feeds,told",
    [
        ({"ids": EMBEDDED["ids"]}, "missing input gain"),
        ({**EMBEDDED, "more": EMBEDDED["gain"]}, "surplus input more"),
        ({**EMBEDDED, "ids": EMBEDDED["ids"].astype(np.int32)}, "must be {'descr': '<i8'"),
        ({**EMBEDDED, "ids": EMBEDDED["ids"][:4]}, "'shape': (5,)"),
    ],
)
def test_the_runner_refuses_what_does_not_fit(feeds: Tensors, told: str, here: Exported, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        run_folder(HERE, here, feeds, tmp_path)
    assert told in str(caught.value)


def test_an_unknown_target_is_refused_with_all_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no target 'cortex-a99'; it has host, cortex-a53, .*, riscv64"):
        export(dense().SerializeToString(), "cortex-a99", tmp_path / "board")


def test_every_named_target_says_what_it_is_compiled_with() -> None:
    told = {name: target(name).compiler for name in known_targets()}
    assert told.pop("host") is None
    assert told.pop("riscv64") == "riscv64-linux-gnu-g++"
    assert set(told.values()) == {"aarch64-linux-gnu-g++"}


@pytest.mark.parametrize(
    "name,package", [("cortex-a72", "g++-aarch64-linux-gnu"), ("riscv64", "g++-riscv64-linux-gnu")]
)
def test_a_missing_compiler_names_its_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CompileError, match=f"apt-get install {package.replace('+', '.')}"):
        compiler(target(name))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(CompileError, match="not an empty folder"):
        export(dense().SerializeToString(), "host", tmp_path)


@pytest.mark.slow
def test_wheels_that_cannot_be_had_are_told_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("aarch64-linux-gnu-g++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    command = r"pip download .*--platform manylinux_2_28_aarch64 apache-tvm=="
    with pytest.raises(CompileError, match=command) as caught, runtime(target("cortex-a72")):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_a_compiler_complains_of_is_told_in_one_line(tmp_path: Path) -> None:
    from nodes.backends.tvm.cross import compile_cpp

    (tmp_path / "wrong.cc").write_text("int main() { return nothing; }\n")
    with pytest.raises(CompileError, match=r"g\+\+: .*wrong.cc.*nothing.*"):
        compile_cpp([compiler(target("host")), "-c", str(tmp_path / "wrong.cc"), "-o", str(tmp_path / "wrong.o")])


def test_the_runner_is_told_every_tensor_in_order() -> None:
    specs = (TensorSpec("a b", "float32", (1, 3)),), (TensorSpec("s", "int64", ()),)
    assert tensors_text(*specs) == "input float32 2 1 3 a b\noutput int64 0 s\n"


@pytest.mark.slow
def test_an_environment_without_pip_uses_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip3").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "pip3").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cross.sys, "executable", "/bin/false")
    assert cross._pip() == ["pip3"]


def test_no_pip_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cross.sys, "executable", "/bin/false")
    with pytest.raises(CompileError, match="ensurepip"):
        cross._pip()
