"""`batching: {}` has each engine's best batch taken from a curve that is measured, given or remembered."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from nodes.store import Store
from orchestrator.batching import CURVE, Batching
from orchestrator.blueprint import Blueprint
from orchestrator.workshop import Workshop
from partitioner.profile import EngineKey, Profile
from tests.nodes.onnx_models import info, model_of, node
from tests.orchestrator.small_site import blueprint_of, seconds, spec_of
from tests.orchestrator.worker_site import WorkerSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerSite]:
    held = WorkerSite(tmp_path_factory.mktemp("auto"))
    yield held
    held.close()


def asked(site: WorkerSite, path: Path | None = None, profile: Profile | None = None) -> tuple[Blueprint, list[str]]:
    """What the workshop makes of a spec whose `max` is `auto`, and what it said."""
    plain, said = blueprint_of(site.folder), list[str]()
    model = path or plain.spec.model
    spec = replace(spec_of(model, plain.spec.topology, digest=str(model)), batching=Batching())
    workshop = Workshop(site.fleet, Store(site.folder / "store"), said.append)

    async def story() -> Blueprint:
        await site.fleet.bring_up(spec.topology)
        found = await workshop.blueprint(spec, model, ({},), profile)
        count = len(said)
        again = await workshop.blueprint(spec, model, ({},), profile)
        assert again.profile == found.profile
        assert said[count:] == []  # nothing is measured twice
        return found

    return site.do(story()), said


@pytest.mark.slow
def test_the_curve_is_measured_and_the_best_of_it_is_what_stages_get(site: WorkerSite) -> None:
    blueprint, said = asked(site)
    assert [line for line in said if "batches of" in line]
    (engine,) = blueprint.profile.engines.values()
    assert set(engine.batch_s) == {1, *CURVE}
    best = dict(engine.options).get("batch", 1)
    assert best in (1, *CURVE)
    rates = {rows: rows / took_s for rows, took_s in engine.batch_s.items()}
    assert rates[int(best)] >= rates[1]


@pytest.mark.slow
def test_a_model_that_mixes_its_rows_goes_on_alone(site: WorkerSite, tmp_path: Path) -> None:
    path = tmp_path / "mixes.onnx"
    nodes = [node("Softmax", ["x"], ["y"], "over_rows", axis=0)]
    onnx.save(model_of(nodes, [info("x", 1, 4)], [info("y", 1, 4)]), path)
    blueprint, said = asked(site, path)
    assert [line for line in said if line.startswith("every request runs alone: mixes.onnx does not take 2 rows")]
    assert all("batch" not in dict(engine.options) for engine in blueprint.profile.engines.values())


@pytest.mark.slow
def test_a_profile_s_own_curve_is_taken(site: WorkerSite) -> None:
    plain = blueprint_of(site.folder)
    (key,) = site.do(keys(site, plain))
    profile = seconds(plain.model, key=key)
    curve = {1: 0.010, 2: 0.011, 4: 0.012, 8: 0.050}
    profile = replace(profile, engines={key: replace(profile.engines[key], batch_s=curve)})
    blueprint, said = asked(site, profile=profile)
    assert dict(blueprint.profile.engines[key].options) == {"batch": 4}
    assert said == []


async def keys(site: WorkerSite, blueprint: Blueprint) -> set[EngineKey]:
    """What the site's nodes offer; they are one host's."""
    await site.fleet.bring_up(blueprint.spec.topology)
    return {key for some in site.fleet.engines(blueprint.spec.topology).values() for key in some}
