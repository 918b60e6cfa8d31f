"""A plan's stages as artifacts and specs: what each worker is told, and that the pieces compute the whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nodes import artifact
from nodes.backend import Array
from nodes.program import Program
from nodes.store import Store
from orchestrator.artifacts import Built, build, model_inputs, stage_artifact
from orchestrator.batching import Batching
from orchestrator.errors import ClusterError
from orchestrator.routes import Reach
from partitioner.plan import Plan
from tests.orchestrator.small_site import WIDE, answer_of, blueprint_of

REACHES = {name: Reach(node=name, address=f"{name}:1") for name in ("camera", "cloud")}


def built_split(folder: Path, store: Store, reaches: dict[str, Reach] = REACHES) -> dict[str, Built]:
    blueprint = blueprint_of(folder)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    return build(
        plan, blueprint.model, store, deployment="two", epoch=3, topology=blueprint.spec.topology, reaches=reaches
    )


def test_each_stage_is_told_its_successor_and_what_to_send(tmp_path: Path) -> None:
    first, second = (each.spec for each in built_split(tmp_path, Store(tmp_path / "store")).values())
    assert first.successor is not None
    assert (first.successor.stage, first.successor.address, first.sends, first.returns) == (
        second.stage, "cloud:1", ("narrow",), (),
    )  # fmt: skip
    assert (second.successor, second.sends, second.returns, second.epoch) == (None, (), ("y",), 3)
    assert (first.slowdown, second.slowdown) == (10.0, 1.0)


def test_a_next_stage_whose_worker_is_away_is_named_by_its_node(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="node cloud: its worker is away"):
        built_split(tmp_path, Store(tmp_path / "store"), {"camera": REACHES["camera"]})


def test_a_stage_is_compiled_with_its_nodes_options(tmp_path: Path) -> None:
    blueprint = blueprint_of(tmp_path)
    topology = blueprint.spec.topology
    with_options = [replace(node, engines=((node.backends[0], (("level", node.name),)),)) for node in topology.nodes]
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    built = build(
        plan,
        blueprint.model,
        Store(tmp_path / "store"),
        deployment="two",
        epoch=1,
        topology=replace(topology, nodes=tuple(with_options)),
        reaches=REACHES,
    )
    assert [each.spec.options for each in built.values()] == [{"level": stage.node} for stage in plan.stages]


def test_stages_in_turn_compute_what_the_model_does(tmp_path: Path) -> None:
    tensors: dict[str, Array] = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}
    for each in built_split(tmp_path, Store(tmp_path / "store")).values():
        program = Program.load(each.folder, backend=each.spec.backend)
        needed = {spec.name: tensors[spec.name] for spec in artifact.read(each.folder).inputs}
        tensors |= program.run(needed)
    assert np.allclose(tensors["y"], answer_of(tensors["x"]), atol=1e-3)


def test_the_same_stage_is_the_same_artifact(tmp_path: Path) -> None:
    model, store = blueprint_of(tmp_path).model, Store(tmp_path / "store")
    one, again = (stage_artifact(model, ("first",), ("x",), ("narrow",), store) for _ in range(2))
    other = stage_artifact(model, ("second",), ("narrow",), ("y",), store)
    assert one == again != other
    assert not list(store.root.glob(".building-*"))


def test_the_router_is_told_what_to_take_in(tmp_path: Path) -> None:
    blueprint = blueprint_of(tmp_path)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    inputs, codecs = model_inputs(plan, blueprint.model)
    assert [(spec.name, spec.dtype, spec.shape) for spec in inputs] == [("x", "float32", (1, WIDE))]
    assert codecs == {"x": "raw"}


def batched(folder: Path, batching: Batching | None, **engines: object) -> dict[str, Built]:
    blueprint = blueprint_of(folder)
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    nodes = [
        replace(node, engines=((node.backends[0], tuple(engines.items())),)) if engines else node
        for node in blueprint.spec.topology.nodes
    ]
    return build(
        plan,
        blueprint.model,
        Store(folder / "store"),
        deployment="two",
        epoch=1,
        topology=replace(blueprint.spec.topology, nodes=tuple(nodes)),
        reaches=REACHES,
        batching=batching,
    )


def test_stages_share_runs_as_the_spec_says(tmp_path: Path) -> None:
    built = batched(tmp_path, Batching(most=8, preferred=(4,), max_delay_s=0.01, queue_limit=9))
    for one in built.values():
        spec = one.spec
        assert (spec.max_batch, spec.preferred, spec.max_delay_s, spec.queue_limit) == (8, (4,), 0.01, 9)
        assert all(tensor.shape[0] is None for tensor in artifact.read(one.folder).inputs)


def test_the_size_found_best_for_an_engine_counts_up_to_the_specs_limit(tmp_path: Path) -> None:
    for most, wanted in ((8, 3), (2, 2), (None, 3)):
        built = batched(tmp_path, Batching(most=most), batch=3)
        assert {one.spec.max_batch for one in built.values()} == {wanted}
    assert {one.spec.max_batch for one in batched(tmp_path, Batching()).values()} == {1}


def test_an_engine_of_fixed_shapes_runs_each_request_alone(tmp_path: Path) -> None:
    built = batched(tmp_path, Batching(most=8, preferred=(4,)), io_binding=True)
    assert {(one.spec.max_batch, one.spec.preferred) for one in built.values()} == {(1, ())}
    assert all(None not in tensor.shape for one in built.values() for tensor in artifact.read(one.folder).inputs)
