"""Engines are tuned where they run; what was tried is kept, what was found is profiled with and deployed."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nodes.backend import Option
from nodes.errors import UnsupportedOperator
from orchestrator.own_host import blueprint_here
from orchestrator.profile_file import load_profile, save_profile
from orchestrator.tuning.knobs import settings
from orchestrator.tuning.on_nodes import mix_of, tune_engines
from orchestrator.tuning.trials import TrialBook
from partitioner.profile import EngineKey
from tests.orchestrator.small_site import blueprint_of, site, two_layers
from tests.orchestrator.test_client import named

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
