"""Tuning with TVM: what it writes, who reads it, where it stops; and the tiles it tries."""

import json
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from nodes.backend import Array, Backend
from nodes.backends.tvm.records import Records
from nodes.backends.tvm.schedules import Tile, Vectors, tiles
from nodes.errors import CompileError
from tests.contracts.backend_models import compiled_reference
from tests.nodes.onnx_models import info, model_of, node, random_weight

AVX512, NEON = Vectors(16, 32), Vectors(4, 32)


def product(seed: int = 0, *, activation: str = "Relu") -> ModelProto:
    """x [24, 32] · w [32, 48], and an activation of the product."""
    nodes = [node("MatMul", ["x", "w"], ["m"], "multiply"), node(activation, ["m"], ["y"], "act")]
    return model_of(nodes, [info("x", 24, 32)], [info("y", 24, 48)], [random_weight("w", 32, 48, seed=seed)])


def feeds() -> dict[str, Array]:
    return {"x": np.random.default_rng(2).normal(size=(24, 32)).astype(np.float32)}


def record_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl"))


def lines(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in record_files(folder))


def is_right(backend: Backend, model: ModelProto, **options: int | float) -> bool:
    content = model.SerializeToString()
    made = backend.compile(content, options=options).run(feeds())["y"]
    return np.allclose(made, compiled_reference(content).run(feeds())["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vectors", [AVX512, NEON, Vectors(8, 16)])
@pytest.mark.parametrize("rows, columns", [(1, 1000), (49, 320), (3136, 24), (7, 6625), (1, 1), (128, 1536)])
def test_tiles_divide_their_output_and_fit_into_the_registers(vectors: Vectors, rows: int, columns: int) -> None:
    found = tiles(rows, columns, vectors)
    assert found
    for tile in found:
        assert rows % tile.rows == columns % tile.columns == tile.columns % tile.lanes == 0
        assert tile.rows * tile.columns // tile.lanes < vectors.registers


@pytest.mark.parametrize(
    ("rows", "columns", "vectors", "best"),
    [(128, 1536, AVX512, Tile(8, 48, 16)), (56, 24, AVX512, Tile(14, 24, 12)), (128, 384, NEON, Tile(8, 12, 4))],
)
def test_the_first_tile_is_wide_in_full_vectors(rows: int, columns: int, vectors: Vectors, best: Tile) -> None:
    assert tiles(rows, columns, vectors)[0] == best


def test_the_fastest_record_counts_and_all_were_tried(tmp_path: Path) -> None:
    records = Records(tmp_path / "target")
    assert records.best("a") is None and records.tried("a") == 0
    for seconds, trace in ((3.0, ["slow"]), (1.0, ["fast"]), (2.0, None), (0.0, None)):
        records.add("a", seconds=seconds, trace=trace)
    found = records.best("a")
    assert found is not None and (found.seconds, found.trace) == (1.0, ["fast"])
    assert records.tried("a") == 4 and records.tried("b") == 0


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    trace = ["x" * 10_000]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Records(tmp_path).add("a", seconds=float(n), trace=trace), range(200)))
    assert Records(tmp_path).tried("a") == 200


@pytest.mark.parametrize("content", ["{", '{"seconds": 1}\n', "[1]\n", '{"seconds": null, "trace": []}\n', "\x00\n"])
def test_a_damaged_record_is_dropped_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert Records(tmp_path).best("a") is None
    assert "dropped" in caplog.text
    assert not (tmp_path / "a.jsonl").exists()


@pytest.mark.slow
def test_a_second_model_with_the_same_shapes_profits_from_the_first(tvm_backend: Backend, tmp_path: Path) -> None:
    assert is_right(tvm_backend, product(), trials=3)
    assert len(record_files(tmp_path)) == 1 and lines(tmp_path) == 3
    assert is_right(tvm_backend, product(seed=1), trials=3)
    assert lines(tmp_path) == 3  # nothing was left to try
    assert is_right(tvm_backend, product(activation="Tanh"), trials=1)
    assert len(record_files(tmp_path)) == 2


def test_what_was_found_is_compiled_in_without_being_asked_for(
    tvm_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nodes.backends.tvm.kernels import replayed

    used: list[object] = []

    def watched(*given: Any) -> Any:
        used.append(replayed(*given))
        return used[-1]

    assert is_right(tvm_backend, product(), trials=2)
    monkeypatch.setattr("nodes.backends.tvm.kernels.replayed", watched)
    assert is_right(tvm_backend, product(seed=1))
    assert used and used[0] is not None


def test_a_record_that_no_longer_applies_is_dropped_and_the_model_compiles(
    tvm_backend: Backend, tmp_path: Path
) -> None:
    assert is_right(tvm_backend, product(), trials=1)
    (path,) = record_files(tmp_path)
    entry = json.loads(path.read_text())
    entry["trace"][0] = [["NoSuchStep", [], [], []]]
    path.write_text(json.dumps(entry) + "\n")
    assert is_right(tvm_backend, product(seed=1))
    assert not path.exists()


@pytest.mark.slow
def test_the_budget_ends_tuning(tvm_backend: Backend, tmp_path: Path) -> None:
    from nodes.backends.tvm.targets import target
    from nodes.backends.tvm.tuning import tune

    content = product().SerializeToString()
    assert tune(content, target("host"), trials=0, budget_s=1e-6, threads=1).trials == 0
    started_s = time.monotonic()
    tuned = tune(content, target("host"), trials=0, budget_s=1.0, threads=1)
    assert tuned.trials > 0
    assert time.monotonic() - started_s < 30  # a trial that runs is ended by its own bound


@pytest.mark.slow
def test_what_is_not_written_by_hand_is_tried_at_random_points(
    tvm_backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.backends.tvm.tuning.by_hand", lambda *_, **__: iter(()))
    assert is_right(tvm_backend, product(), trials=3)
    assert lines(tmp_path) == 3 and len(record_files(tmp_path)) == 1
    assert is_right(tvm_backend, product(seed=1))  # replays MetaSchedule's trace
    assert len(record_files(tmp_path)) == 1


def test_tuning_needs_a_bound_and_this_machine(tvm_backend: Backend) -> None:
    from nodes.backends.tvm.targets import target
    from nodes.backends.tvm.tuning import tune

    content = product().SerializeToString()
    with pytest.raises(CompileError, match="neither was given"):
        tune(content, target("host"), trials=0, budget_s=0, threads=1)
    with pytest.raises(CompileError, match="not for cortex-a72"):
        tune(content, target("cortex-a72"), trials=1, budget_s=0, threads=1)


@pytest.mark.slow
def test_time_goes_first_where_most_of_the_models_time_is(tvm_backend: Backend) -> None:
    from nodes.backends.tvm.targets import target
    from nodes.backends.tvm.tuning import tune

    heavy = model_of(
        [node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["r"]), node("MatMul", ["r", "v"], ["y"])],
        [info("x", 64, 256)],
        [info("y", 64, 4)],
        [random_weight("w", 256, 512), random_weight("v", 512, 4)],
    )
    seen: list[tuple[int, float]] = []
    tuned = tune(
        heavy.SerializeToString(),
        target("host"),
        trials=4,
        budget_s=0,
        threads=1,
        on_progress=lambda so_far: seen.append((so_far.trials, so_far.after_s)),
    )
    assert tuned.kernels == 2 and tuned.trials == 8 and tuned.failed == 0
    assert [trials for trials, _ in seen] == list(range(1, 9))
    assert tuned.after_s <= tuned.before_s


@pytest.mark.slow
def test_tuning_in_a_process_of_its_own_leaves_its_records(tvm_backend: Backend, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(product().SerializeToString())
    command = [sys.executable, "-m", "nodes.backends.tvm.tune_process", str(path), "--trials", "2", "--budget-s", "60"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(made.stdout.splitlines()[-1])["trials"] == 2
    assert lines(tmp_path) == 2
    absent = subprocess.run([*command[:3], str(tmp_path / "absent.onnx")], capture_output=True, text=True, check=False)
    assert absent.returncode == 1 and len(absent.stderr.splitlines()) == 1
