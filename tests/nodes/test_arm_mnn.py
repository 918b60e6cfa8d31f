"""MNN on ARM: its aarch64 wheel under qemu runs what was converted here, without converter, onnx or ONNX Runtime."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nodes.backends import mnn
from nodes.backends.mnn_verdict import BOUNDS, difference
from nodes.errors import EngineMissing
from tests.contracts.backend_models import compiled_reference, normalised_transformer, tokens, zoo_model
from tests.contracts.test_backends import coffee
from tests.nodes.onnx_models import saved

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("qemu-aarch64-static", "apt-get", "dpkg")
WHEELS = ("MNN", "numpy")
CODE = """
import json, sys
import numpy as np
from pathlib import Path
from nodes.backends import mnn

engine = mnn.load()
for case in json.load(sys.stdin):
    session = engine.compile(Path(case["model"]), precision=case["precision"], options={"weights": case["weights"]})
    with np.load(case["samples"]) as arrays:
        np.savez(case["answers"], **session.run(dict(arrays)))
assert not {"onnx", "onnxruntime", "_tools"} & set(sys.modules)
"""

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One model under one precision, and how far off it may and must be: narrower numbers round."""

    model: str
    precision: str
    weights: str
    least: float
    most: float


CASES = (
    Case("efficientnet_lite0", "float32", "float32", 0, 1e-4),
    Case("transformer", "float16", "float32", 1e-5, BOUNDS["float16"]),
    Case("transformer", "float32", "int8", 1e-5, BOUNDS["int8"]),
)


def unavailable(reason: str) -> None:
    """In CI what is missing is a failure: there the packages are installed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def make_sysroot(folder: Path, *wheels: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts/arm_sysroot.py"), str(folder), *wheels]
    return subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sysroot() -> Path:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        unavailable(f"no {missing[0]} here (Debian, Ubuntu: apt install qemu-user-static)")
    try:
        pinned = [f"{name}=={metadata.version(name)}" for name in WHEELS]
    except metadata.PackageNotFoundError as error:
        unavailable(f"{error.name} is not installed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "isthmus" / "arm-sysroot"
    done = make_sysroot(folder, *pinned)
    if done.returncode:
        unavailable(done.stderr.strip())
    return folder


@pytest.fixture(scope="module")
def answers(sysroot: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tensors, Tensors]]:
    """For each case what ARM answers, and ONNX Runtime here. One emulated process: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("arm")
    models = {
        "efficientnet_lite0": (zoo_model("efficientnet_lite0"), coffee()),
        "transformer": (saved(normalised_transformer().proto, folder), tokens()),
    }
    listed = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for number, case in enumerate(CASES):
            path, feeds = models[case.model]
            try:
                mnn.load().compile(path, options={"weights": case.weights}).close()
            except EngineMissing as error:
                unavailable(str(error))
            files = {name: str(folder / f"{name}-{number}.npz") for name in ("samples", "answers")}
            np.savez(files["samples"], **feeds)  # type: ignore[arg-type]
            listed.append({"model": str(path), "precision": case.precision, "weights": case.weights, **files})
    run_on_arm(sysroot, listed, folder / "cache")
    references = {name: compiled_reference(path).run(feeds) for name, (path, feeds) in models.items()}
    return [
        (dict(np.load(entry["answers"])), references[case.model]) for entry, case in zip(listed, CASES, strict=True)
    ]


def run_on_arm(sysroot: Path, listed: list[dict[str, str]], cache: Path) -> None:
    """An arm64 Python with MNN and numpy, and no more; it finds the converted files in the cache."""
    site = [str(sysroot / "site" / f"{name}=={metadata.version(name)}") for name in WHEELS]
    environment = {
        "QEMU_LD_PREFIX": str(sysroot),
        "PYTHONPATH": os.pathsep.join([*site, str(ROOT)]),
        "XDG_CACHE_HOME": str(cache),
    }
    done = subprocess.run(
        [str(shutil.which("qemu-aarch64-static")), str(sysroot / "usr/bin/python3"), "-c", CODE],
        env=environment, input=json.dumps(listed), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c.model}-{c.precision}-{c.weights}" for c in CASES])
def test_what_was_converted_here_answers_on_arm_as_onnx_runtime_does(
    answers: list[tuple[Tensors, Tensors]], number: int
) -> None:
    made, want = answers[number]
    assert CASES[number].least <= difference(made, want) <= CASES[number].most
    assert [made[name].argmax() for name in made] == [want[name].argmax() for name in want]


def test_a_folder_that_is_no_sysroot_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = make_sysroot(tmp_path)
    assert (done.returncode, done.stdout) == (1, "") and "no sysroot of ours" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_missing_tool_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = make_sysroot(tmp_path / "root", PATH=str(tmp_path))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "needs apt-get" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".root.lock"]
