"""The batch with the most rows a second wins; a stage deployed with it answers several requests in a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nodes.backend import Array
from nodes.codec import pack
from nodes.framing import Frame, Header
from nodes.program import Program
from nodes.stage_work import work
from nodes.store import Store
from orchestrator.artifacts import Built, build
from orchestrator.blueprint import Blueprint
from orchestrator.routes import Reach
from orchestrator.tuning.batches import LATENCY_FACTOR, best_batch, middle, with_batches
from partitioner.load import load
from partitioner.plan import Plan
from partitioner.profile import Profile
from tests.nodes.onnx_models import info, model_of, node, random_weight, weight
from tests.orchestrator.small_site import WIDE, blueprint_of, seconds


def test_the_most_rows_a_second_win() -> None:
    assert best_batch(1.0, {2: 1.5, 4: 2.0, 8: 3.9}) == 8
    assert best_batch(1.0, {2: 1.5, 4: 2.0, 8: 4.1}, factor=8.0) == 4


def test_no_answer_waits_longer_than_the_factor_allows() -> None:
    assert best_batch(1.0, {4: LATENCY_FACTOR, 64: LATENCY_FACTOR + 0.1}) == 1
    assert best_batch(1.0, {4: 2.0, 64: LATENCY_FACTOR + 0.1}) == 4


def test_a_curve_that_gains_next_to_nothing_means_no_batch() -> None:
    assert best_batch(1.0, {2: 1.96, 4: 3.95}) == 1


def chosen(folder: Path, **changed: object) -> dict[str, object]:
    """The options of the one engine, after its batch was chosen by a curve that is best at 8."""
    blueprint = blueprint_of(folder)
    ((key, engine),) = blueprint.profile.engines.items()
    measured: dict[str, object] = {"batch_s": {1: 1.0, 4: 2.0, 8: 3.0}, **changed}
    known = replace(engine, **measured)  # type: ignore[arg-type]
    found = with_batches(replace(blueprint.profile, engines={key: known}), blueprint.model.graph)
    return dict(found.engines[key].options)


def test_an_engine_keeps_its_best_batch_among_its_options(tmp_path: Path) -> None:
    assert chosen(tmp_path, options=(("level", "basic"),)) == {"level": "basic", "batch": 8}


@pytest.mark.parametrize("changed", [{"batch_s": {}}, {"batch_s": {8: 3.0}}, {"options": (("io_binding", True),)}])
def test_without_a_curve_or_where_shapes_must_stay_fixed_there_is_no_batch(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    assert "batch" not in chosen(tmp_path, **changed)


def test_a_curve_timed_thrice_is_its_medians(tmp_path: Path) -> None:
    profile = blueprint_of(tmp_path).profile
    ((key, engine),) = profile.engines.items()

    def timed(one_s: float, four_s: float) -> Profile:
        return replace(profile, engines={key: replace(engine, batch_s={1: one_s, 4: four_s})})

    found = middle([timed(1.0, 9.0), timed(5.0, 2.0), timed(1.2, 2.2)])
    assert found.engines[key].batch_s == {1: 1.2, 4: 2.2}


def built(blueprint: Blueprint, folder: Path) -> list[Built]:
    """The stages of a blueprint whose profile says batches of 3."""
    ((key, engine),) = blueprint.profile.engines.items()
    profile = replace(blueprint.profile, engines={key: replace(engine, options=(("batch", 3),))})
    tuned = replace(blueprint, profile=profile)
    plan = tuned.find()
    assert isinstance(plan, Plan)
    store = Store(folder / "store")
    reaches = {name: Reach(node=name, address=f"{name}:1") for name in ("camera", "cloud")}
    topology = tuned.tuned_topology
    return [*build(plan, tuned.model, store, deployment="two", epoch=1, topology=topology, reaches=reaches).values()]


class Counting:
    """A program that notes how many rows each run had."""

    def __init__(self, program: Program) -> None:
        self.inputs, self.outputs, self._program = program.inputs, program.outputs, program
        self.rows: list[int] = []

    def run(self, feeds: dict[str, Array]) -> dict[str, Array]:  # type: ignore[override]
        self.rows.append(len(next(iter(feeds.values()))))
        return self._program.run(feeds)

    def close(self) -> None:
        self._program.close()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "mnn"])
def test_requests_share_a_run_of_a_deployed_stage(tmp_path: Path, backend: str) -> None:
    pytest.importorskip({"mnn": "MNN"}.get(backend, backend))
    first, _ = built(blueprint_of(tmp_path), tmp_path)
    assert first.spec.max_batch == 3
    program = Counting(Program.load(first.folder, backend=backend, options=first.spec.options))
    random = np.random.default_rng(0)
    frames: list[Frame] = [
        pack(Header(deployment="two", request=str(i)), {"x": random.random((1, WIDE), np.float32)}, {})
        for i in range(3)
    ]
    together = work(first.spec, program, frames)  # type: ignore[arg-type]
    alone = [work(first.spec, program, [frame])[0] for frame in frames]  # type: ignore[arg-type]
    assert program.rows == [3, 1, 1, 1]
    for one, other in zip(together, alone, strict=True):
        (meta, buffer), (meta_alone, buffer_alone) = one.sends[0], other.sends[0]
        assert meta.shape == meta_alone.shape == (1, 4)
        np.testing.assert_allclose(np.frombuffer(buffer, np.float32), np.frombuffer(buffer_alone, np.float32), 1e-3)


def mixing(folder: Path) -> Path:
    """The site's model, but its second operator reads all rows as one."""
    nodes = [
        node("MatMul", ["x", "w1"], ["narrow"], "first"),
        node("Reshape", ["narrow", "to"], ["y"], "second"),
    ]
    shapes = [random_weight("w1", WIDE, 4), weight("to", [4], np.int64)]
    path = folder / "mixing.onnx"
    model = model_of(nodes, [info("x", 1, WIDE)], [info("y", 4)], shapes)
    model.graph.value_info.append(info("narrow", 1, 4))
    onnx.save(model, path)
    return path


def test_a_stage_that_mixes_its_rows_answers_one_request_at_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = blueprint_of(tmp_path)
    model = load(mixing(tmp_path))
    profile = replace(seconds(model), engines={key: one for key, one in given.profile.engines.items()})
    stages = built(replace(given, model=model, profile=profile), tmp_path)
    assert [each.spec.max_batch for each in stages] == [3, 1]
    assert "answers one request at a time" in caplog.text
