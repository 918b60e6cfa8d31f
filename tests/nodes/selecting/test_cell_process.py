"""What is measured in a cell's process, with engines in this one."""

import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from nodes import backend
from nodes.artifact import ModelStep
from nodes.backend import NO_OPTIONS, Array, Capabilities, TensorSpec
from nodes.cache import CacheKey, engine_cache
from nodes.errors import CompileError, RunError, UnsupportedOperator
from nodes.selecting import footprint, process
from nodes.selecting import measure as timing
from nodes.selecting.cells import Cell, Measured
from nodes.selecting.exchange import Request, Told, load_tensors, save_tensors
from nodes.selecting.machine import machine_label, usable_cores
from nodes.selecting.measure import runs_of, stacked
from nodes.selecting.process import capabilities, measure
from tests.nodes.onnx_models import artifact_of, dense

OUTPUTS = [TensorSpec("y", "float32", (None, 4)), TensorSpec("hidden", "float32", (None, 4))]
X = np.arange(8, dtype=np.float32).reshape(1, 8)


class Slow:
    """A session that counts its runs on a clock of its own."""

    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", "float32", (None, 8)),)
    outputs: tuple[TensorSpec, ...] = (TensorSpec("y", "float32", (None, 8)),)

    def __init__(self, most: int = 1000) -> None:
        self.runs: list[Mapping[str, Array]] = []
        self._most = most

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs.append(feeds)
        if feeds["x"].shape[0] > self._most:
            raise RunError("toy: too many rows")
        return {"y": feeds["x"], "hidden": feeds["x"]}

    def operator_s(self) -> None:
        return None

    def close(self) -> None:
        self.runs.clear()


class Toy:
    """An engine that takes no options and so many rows at most, and raises what it is told to."""

    def __init__(self, *, most: int = 1000, raises: Exception | None = None, keeps: bool = False) -> None:
        self._most, self._raises, self._keeps = most, raises, keeps

    def capabilities(self) -> Capabilities:
        return Capabilities(
            backend="toy", version="7", devices=("cpu",), precisions=("float32",), options={"trials": "how many"}
        )

    def compile(self, model: object, *, options: Mapping[str, Any] = NO_OPTIONS, **_: object) -> Slow:
        if self._raises is not None:
            raise self._raises
        if self._keeps:
            key = CacheKey(model="m", engine="toy", target="here")
            with engine_cache().entry(key, lambda folder: None):
                pass
        if options:
            raise CompileError(f"toy refuses {dict(options)}")
        return Slow(self._most)


Asked = Callable[..., list[Any]]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is said, line by line, of an engine in this process that runs a small model on two samples."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(footprint, "distributions_of", lambda *_: ("onnxruntime",))
    save_tensors(tmp_path / "samples.npz", [{"x": X}, {"x": X + 1}])
    steps = [ModelStep(onnx="model-0.onnx", inputs=("x",), outputs=("y", "hidden"))]
    folders = {rows: tmp_path / f"rows-{rows}" for rows in (1, 2, 4)}
    for rows, folder in folders.items():
        folder.mkdir()
        artifact_of(folder, dense(rows), steps, [TensorSpec("x", "float32", (rows, 8))], OUTPUTS)

    def ask(engine: object, *batches: int, name: str = "toy", **more: Any) -> list[Any]:
        module = ModuleType("toy_engine")
        module.load = lambda: engine  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_engine", module)
        monkeypatch.setitem(backend.BACKENDS, "toy", "toy_engine")
        request = Request(
            cell=Cell(backend=name, **more),
            folder=str(folders[1]),
            samples=str(tmp_path / "samples.npz"),
            outputs=str(tmp_path / "answers.npz"),
            seconds=0.01,
            batches={str(rows): str(folders[rows]) for rows in batches},
        )
        found: list[Measured | Told] = []
        measure(request, found.append)
        return found

    return ask


def test_all_three_axes_are_measured(said: Asked, tmp_path: Path) -> None:
    *_, found = said(None, name="onnxruntime")
    assert (found.state, found.version) == ("ran", onnxruntime.__version__)
    assert 0 < found.speed.p50_s <= found.speed.p99_s < found.speed.first_s
    assert found.footprint.build_s < found.speed.first_s
    assert found.footprint.cpu_s > 0
    assert found.footprint.install_bytes == footprint.install_bytes(["onnxruntime"])
    assert found.footprint.artifact_bytes == (tmp_path / "rows-1" / "model-0.onnx").stat().st_size
    assert len(load_tensors(tmp_path / "answers.npz")) == 2


def test_each_batch_is_said_as_soon_as_it_is_known(said: Asked) -> None:
    found = said(Toy(), 2, 4)
    assert [[row.batch for row in one.speed.batches] for one in found] == [[], [], [2], [2, 4]]
    last = found[-1].speed.batches[-1]
    assert last.answers_per_s == pytest.approx(4 / last.p50_s)


def test_a_batch_that_an_engine_cannot_take_ends_the_curve_only(said: Asked) -> None:
    found = said(Toy(most=2), 2, 4)[-1]
    assert [row.batch for row in found.speed.batches] == [2]
    assert found.speed.batch_note == "batch 4: toy: too many rows"
    assert found.state == "ran"


@pytest.mark.parametrize(
    ("raised", "state", "reason"),
    [
        (UnsupportedOperator("toy does not support operator Foo"), "refused", "toy does not support operator Foo"),
        (CompileError("toy: two\nlines"), "refused", "toy: two lines"),
        (RunError("toy broke"), "failed", "toy broke"),
        (MemoryError(), "failed", "toy ran out of memory"),
        (ZeroDivisionError("a vendor's own"), "failed", "ZeroDivisionError: a vendor's own"),
    ],
)
def test_what_an_engine_raises_is_a_state_with_its_reason(
    said: Asked, raised: Exception, state: str, reason: str
) -> None:
    (found,) = said(Toy(raises=raised))
    assert (found.state, found.reason) == (state, reason)


def test_an_engine_that_compiled_and_kept_it_is_measured_another_time(said: Asked) -> None:
    (first,) = said(Toy(keeps=True))
    assert (first.state, first.version, first.speed) == ("built", "7", None)
    assert 0 < first.build_s < first.first_s
    *_, second = said(Toy(keeps=True))
    assert (second.state, second.footprint.cached) == ("ran", True)


def test_options_of_a_cell_reach_its_engine(said: Asked) -> None:
    (found,) = said(Toy(), options=(("trials", 3),))
    assert found.reason == "toy refuses {'trials': 3}"


def test_an_engine_tells_of_itself_or_why_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "load_backend", lambda _: Toy())
    told = capabilities("toy")
    assert (told.version, told.devices, told.precisions, told.options) == ("7", ("cpu",), ("float32",), ("trials",))
    assert (told.machine, told.cores, told.missing) == (machine_label(), usable_cores(), "")


def test_samples_are_run_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Slow()
    runs = runs_of(session, [{"x": X}, {"x": X + 1}], seconds=0.001)
    assert len(runs.taken_s) >= 5
    assert [one["x"][0, 0] for one in session.runs[2:7]] == [0, 1, 0, 1, 0]


def test_an_engine_beyond_patience_runs_three_times_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    now = count(0, 10)
    monkeypatch.setattr(timing, "perf_counter", lambda: float(next(now)))
    session = Slow()
    assert len(runs_of(session, [{"x": X}], seconds=1.0).taken_s) == 2
    assert len(session.runs) == 3


def test_samples_are_stacked_along_their_first_dimension() -> None:
    found = stacked([{"x": X}, {"x": X + 1}], 3)["x"]
    assert found[:, 0].tolist() == [0.0, 1.0, 0.0]
