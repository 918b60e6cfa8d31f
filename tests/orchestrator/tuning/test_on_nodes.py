"""Engines are tuned where they run; what was tried is kept, what was found is profiled with and deployed."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.backend import Option
from nodes.errors import UnsupportedOperator
from nodes.stage_spec import StageSpec
from nodes.store import Store
from orchestrator.artifacts import build
from orchestrator.blueprint import Blueprint
from orchestrator.client import Client
from orchestrator.errors import ClusterError
from orchestrator.model_file import prepare
from orchestrator.own_host import blueprint_here, own_fleet
from orchestrator.profile_file import load_profile, save_profile
from orchestrator.routes import Reach
from orchestrator.samples import load_samples
from orchestrator.spec import DeploymentSpec
from orchestrator.tuning import knobs
from orchestrator.tuning.knobs import settings
from orchestrator.tuning.on_nodes import mix_of, tune_engines
from orchestrator.tuning.trials import TrialBook
from orchestrator.workshop import Workshop
from partitioner.plan import Plan
from partitioner.profile import CodecFigure, EngineKey, TensorFigure
from partitioner.topology import Topology
from tests.orchestrator.small_site import WIDE, answer_of, blueprint_of, site, two_layers
from tests.orchestrator.test_client import decreed, named

ORT, OPENVINO, OTHER = (EngineKey(node_class="here", backend=name) for name in ("onnxruntime", "openvino", "untunable"))


def tuned(folder: Path, said: list[str]) -> Mapping[EngineKey, object]:
    """ONNX Runtime is faster spinning, OpenVINO cannot run the model."""
    graph = blueprint_of(folder).model.graph

    async def time_whole(key: EngineKey, options: Mapping[str, Option]) -> float:
        if key == OPENVINO:
            raise UnsupportedOperator("openvino does not support operator MatMul", backend="openvino")
        return 0.5 if options.get("spinning") else 1.0

    keys, book = (ORT, OPENVINO, OTHER), folder / "trials.jsonl"
    return asyncio.run(tune_engines(graph, "m", keys, time_whole, budget_s=60, say=said.append, book=book))


def test_each_engine_that_can_be_tuned_is_and_its_trials_are_kept(tmp_path: Path) -> None:
    said: list[str] = []
    assert tuned(tmp_path, said) == {ORT: (("spinning", True),)}
    assert "openvino does not support operator MatMul; not tuned" in said
    assert "onnxruntime on here: spinning=True takes 50% of the default" in said
    kept = TrialBook(tmp_path / "trials.jsonl").trials()
    assert {one.setting for one in kept} == set(settings("onnxruntime")) and {one.model for one in kept} == {"m"}
    assert kept[0].mix == mix_of(blueprint_of(tmp_path).model.graph) == {"MatMul": 1.0}


def test_a_stage_runs_with_the_settings_profiled_and_the_nodes_own_go_first(tmp_path: Path) -> None:
    blueprint = blueprint_of(tmp_path)
    key, engine = next(iter(blueprint.profile.engines.items()))
    profile = replace(
        blueprint.profile, engines={key: replace(engine, options=(("level", "basic"), ("spinning", True)))}
    )
    first, *others = blueprint.spec.topology.nodes
    own = replace(first, engines=((key.backend, (("level", "all"),)),))
    spec = replace(blueprint.spec, topology=replace(blueprint.spec.topology, nodes=(own, *others)))
    found = replace(blueprint, spec=spec, profile=profile).tuned_topology
    assert found.node(first.name).options_of(key.backend) == {"level": "all", "spinning": True}
    assert found.node(others[0].name).options_of(key.backend) == {"level": "basic", "spinning": True}


def built(blueprint: Blueprint, folder: Path) -> tuple[StageSpec, ...]:
    """What the workers are told of the stages of the best plan, as a deploy tells them."""
    plan = blueprint.find()
    assert isinstance(plan, Plan)
    reaches = {name: Reach(node=name, address=f"{name}:1") for name in ("camera", "cloud")}
    store, topology = Store(folder / "artifacts"), blueprint.tuned_topology
    made = build(plan, blueprint.model, store, deployment="d", epoch=1, topology=topology, reaches=reaches)
    return tuple(each.spec for each in made.values())


def test_a_tuned_profile_has_its_codecs_chosen_by_the_planner(tmp_path: Path) -> None:
    """No knob: what each codec saves and spoils is in the profile, and the plan under it says which to use."""
    blueprint = blueprint_of(tmp_path)
    tuned_engines = {key: replace(one, options=(("spinning", True),)) for key, one in blueprint.profile.engines.items()}
    figures = {"int8": TensorFigure(ratio=0.25, error=0.01), "fp16": TensorFigure(ratio=0.5, error=1e-4)}
    free = dict.fromkeys(("raw", "int8", "fp16"), CodecFigure(encode_s_per_byte=0.0, decode_s_per_byte=0.0))
    profile = replace(blueprint.profile, engines=tuned_engines, tensors={"narrow": figures}, codecs=free)
    for max_error, codecs in ((0.0, {"narrow": "raw"}), (0.001, {"narrow": "fp16"}), (0.02, {"narrow": "int8"})):
        found = replace(blueprint, profile=profile, spec=replace(blueprint.spec, max_error=max_error))
        first, _ = built(found, tmp_path)
        assert (first.codecs, first.options) == (codecs, {"spinning": True})


def test_a_missing_tuner_is_said_before_a_worker_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said: list[str] = []
    spec = named("tuned", two_layers(tmp_path), site())
    with pytest.raises(ClusterError, match=r'pip install "isthmus\[tune\]"'):
        asyncio.run(blueprint_here(spec, said.append, tune_s=1.0, tuner="optuna"))
    assert not said


def two_threads() -> Topology:
    plain = site(mbps=20)
    return replace(plain, nodes=tuple(replace(node, threads=2) for node in plain.nodes))


async def tuned_and_loaded(spec: DeploymentSpec, tuner: str) -> tuple[Blueprint, tuple[StageSpec, ...]]:
    """The blueprint of a tuned profile, and the stages that workers hold once it is deployed to them."""
    ready = prepare(spec)
    async with own_fleet() as (fleet, folder):
        workshop = Workshop(fleet, Store(folder / "artifacts"), lambda _: None)
        samples = load_samples({}, ready.inputs)
        found = await workshop.blueprint(spec, ready.path, samples, tune_s=60.0, tuner=tuner)
        found = await workshop.batch_curves(found, ready.path, (4,), choose=True)
        for each in built(found, folder):
            await fleet.give(each.node, Store(folder / "artifacts").path(each.artifact), each.artifact)
            await fleet.call(each.node, "load_stage", replace(each, successor=None, sends=(), returns=("y",)))
        held = [stage for node in fleet.members() for stage in (await fleet.call(node, "health"))["stages"]]
    return found, tuple(StageSpec.from_map(stage) for stage in held)


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["learned", "optuna"])
def test_what_tuning_finds_is_what_workers_compile_a_deployment_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuner: str
) -> None:
    """Half the threads are made to look twice as fast, so that the tuner must find them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(knobs.KNOBS, "onnxruntime", {})  # type: ignore[arg-type]
    really = Workshop._time

    async def biased(self: Workshop, segment: Any, options: Mapping[str, Option], *others: Any) -> float:
        seconds = await really(self, segment, options, *others)
        return seconds / 2 if options.get("threads") == 1 else seconds

    monkeypatch.setattr(Workshop, "_time", biased)
    spec = replace(named("tuned", two_layers(tmp_path, hidden=1024), two_threads()), max_error=0.05)
    blueprint, held = asyncio.run(tuned_and_loaded(spec, tuner))
    ((key, engine),) = blueprint.profile.engines.items()
    assert (key.threads, dict(engine.options)) == (2, {"threads": 1, "batch": 4})
    assert blueprint.tuned_topology.node("cloud").options_of("onnxruntime") == {"threads": 1, "batch": 4}
    assert {stage.options["threads"] for stage in held} == {1} and {stage.max_batch for stage in held} == {4}


@pytest.mark.slow
def test_requests_that_come_together_share_runs_of_a_deployment(shared_client: Client, tmp_path: Path) -> None:
    """Seen by the seconds of a run, which all who share it are told alike."""
    # Private, so that the first stage is at the slowed camera: a run takes longer there than requests take to come.
    spec = named("batched", two_layers(tmp_path, hidden=1024), site(mbps=800, slowdown=20), private=True)
    plain = decreed(spec, each_s=1e-2)
    options = (("threads", 1), ("batch", 8))
    profile = replace(plain, engines={key: replace(one, options=options) for key, one in plain.engines.items()})
    shared_client.deploy(spec, profile=profile)
    try:
        feeds = [np.random.default_rng(seed).random((1, WIDE), np.float32) for seed in range(48)]
        asked = [shared_client.submit("batched", {"x": feed}, trace=True) for feed in feeds]
        answers = [one.result() for one in asked]
    finally:
        shared_client.delete("batched")
    for feed, answer in zip(feeds, answers, strict=True):
        np.testing.assert_allclose(answer.outputs["y"], answer_of(feed, hidden=1024), rtol=1e-3, atol=1e-3)
    runs = [hop.compute_s for answer in answers for hop in answer.hops if hop.stage == "s1"]
    assert len(runs) == len(answers)
    assert len(set(runs)) < len(answers) / 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tvm_node_tunes_within_its_time_and_keeps_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tvm")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []
    plain = site(mbps=80)
    topology = replace(plain, nodes=tuple(replace(node, backends=("tvm",)) for node in plain.nodes))
    spec = named("tuned", two_layers(tmp_path, hidden=256), topology)
    blueprint = asyncio.run(blueprint_here(spec, said.append, tune_s=20.0))
    ((key, engine),) = blueprint.profile.engines.items()
    assert (key.backend, engine.options) == ("tvm", ())
    tried = TrialBook(tmp_path / "cache/isthmus/trials.jsonl").trials()
    assert {"trials": 16} in [dict(one.setting) for one in tried]
    records = list((tmp_path / "cache/isthmus/tuned").rglob("*.jsonl"))
    assert records and all(len(one.read_text().splitlines()) > 1 for one in records)
    assert any("trials=" in line and "of the default" in line for line in said)


@pytest.mark.slow
def test_a_model_is_tuned_on_a_real_worker_and_the_setting_lasts_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = named("tuned", two_layers(tmp_path, hidden=1024), site(mbps=80))
    profile = asyncio.run(blueprint_here(spec, lambda _: None, tune_s=120.0)).profile
    (engine,) = profile.engines.values()
    assert engine.options in settings("onnxruntime")
    kept = TrialBook(tmp_path / "cache/isthmus/trials.jsonl").trials()
    assert {one.setting for one in kept} == set(settings("onnxruntime")) and all(one.seconds for one in kept)
    save_profile(profile, tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == profile
