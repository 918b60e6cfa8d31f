"""Tuning beside what serves: who starts it, whom it gives way to, and when it ends."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodes.backend import Backend
from nodes.backends.tvm import background
from nodes.backends.tvm.background import tune_beside
from nodes.backends.tvm.targets import TargetSpec, target
from tests.nodes.onnx_models import dense, saved

MODEL = dense().SerializeToString()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The file's lock, which this waits for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture
def host(tvm_backend: Backend) -> TargetSpec:
    return target("host")


def stages(spec: TargetSpec) -> Path:
    return background.records_of(spec.kind).root / "stages"


@pytest.mark.slow
def test_a_stage_serves_while_it_is_tuned_and_the_next_compile_profits(tvm_backend: Backend, host: TargetSpec) -> None:
    session = tvm_backend.compile(MODEL, options={"tune_s": 30})
    assert session.operator_s() is None and background._serving
    assert background._serving[-1].wait(100) == 0
    assert not {".onnx", ".weights"} & {path.suffix for path in stages(host).iterdir()}
    kernels = list(background.records_of(host.kind).root.glob("*.jsonl"))
    assert kernels and all(background.records_of(host.kind).best(kernel.stem) is not None for kernel in kernels)


@pytest.mark.slow
def test_a_tuner_gives_way_waits_its_turn_and_is_not_started_twice(host: TargetSpec) -> None:
    with locked(stages(host) / ".turn"):
        assert tune_beside(MODEL, host, budget_s=30)
        tuner = background._serving[-1]
        assert not tune_beside(MODEL, host, budget_s=30)
        assert tune_beside(dense(2).SerializeToString(), host, budget_s=30)
        other = background._serving[-1]
        assert tuner.poll() is None and not list(background.records_of(host.kind).root.glob("*.jsonl"))
    assert tuner.wait(100) == other.wait(100) == 0
    assert list(background.records_of(host.kind).root.glob("*.jsonl"))
    assert tune_beside(MODEL, host, budget_s=1)  # it has ended, so another may begin
    background._serving[-1].kill()
    background._serving[-1].wait(10)


_PARENT = """
from pathlib import Path
from nodes.backends.tvm.background import tune_beside
from nodes.backends.tvm.targets import target
import sys
print(tune_beside(Path(sys.argv[1]), target("host"), budget_s=300.0))
"""


@pytest.mark.slow
def test_a_tuner_ends_with_the_process_that_asked_for_it(host: TargetSpec, tmp_path: Path) -> None:
    path = saved(dense(), tmp_path)
    with locked(stages(host) / ".turn"):  # so it would wait for ever
        asked = [sys.executable, "-c", _PARENT, str(path)]
        environment = background.environment()
        made = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment, timeout=100)
        assert made.stdout.strip() == "True"
        (lock,) = stages(host).glob("?*.lock")
        with locked(lock):  # the tuner holds it to its end
            pass


def test_a_tuner_is_told_of_all_bounds_and_of_its_priority() -> None:
    asked = background.command(Path("m.onnx"), target="host", trials=3, budget_s=2.0, threads=1, nice=19)
    assert asked[1:3] == ["-m", background.MODULE]
    assert asked[4:8] == ["--target", "host", "--trials", "3"] and asked[-2:] == ["--nice", "19"]


def test_the_tuner_finds_this_package_from_any_folder(tmp_path: Path) -> None:
    asked = [sys.executable, "-c", "import nodes; print(nodes.__file__)"]
    made = subprocess.run(asked, cwd=tmp_path, env=background.environment(), capture_output=True, text=True, check=True)
    assert os.path.samefile(made.stdout.strip(), background.nodes.__file__)


def test_a_tuner_that_cannot_start_stops_no_stage(host: TargetSpec, caplog: pytest.LogCaptureFixture) -> None:
    stages(host).parent.mkdir(parents=True)
    stages(host).write_text("a file where a folder should be")
    assert not tune_beside(MODEL, host, budget_s=30)
    assert "cannot start tuning" in caplog.text
