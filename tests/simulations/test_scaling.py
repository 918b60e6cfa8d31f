"""Stages that scale with their load: replicas on further nodes of a tier, each with times and batches of its own."""

from dataclasses import replace
from typing import Any

import pytest

from simulations.build import services
from simulations.draws import Draws
from simulations.models import read_pipeline
from simulations.results import Outcome
from simulations.ways import Run, way_of
from simulations.world import World
from tests.builders import plan_on
from tests.simulations.scenarios import STEPS, plain, scenario, users

NODES = [
    {"name": "phone", "tier": "device", "like": "phone"},
    {"name": "mec", "tier": "edge", "like": "server"},
    {"name": "mec2", "tier": "edge", "like": "server"},
]
LINKS = [
    {"between": ["west", "mec"], "mbps": 1000.0, "rtt_ms": 1.0},
    {"between": ["west", "mec2"], "mbps": 1000.0, "rtt_ms": 1.0},
]


def crowded(replicas: int, *, compiled: bool = False, **changed: Any) -> tuple[World, Outcome]:
    """130 requests a second of 10 ms each, where one node does 100."""
    told: dict[str, Any] = {
        "nodes": NODES, "links": LINKS, "users": [users("w", 26, per_s=5.0, budget_ms=3000.0)], "duration_s": 20.0,
        "pipelines": [plain()["pipelines"][0] | {"replicas": replicas, "standby_mb": 0}],
    }  # fmt: skip
    world = World(scenario(**told | changed), 0, compiled=compiled)
    return world, world.run()


def crews(world: World) -> set[tuple[str, ...]]:
    return {(stage.node, *stage.replicas) for stage in world.posts.shells[0, 0].plan.stages if stage.node != "phone"}


def test_an_overloaded_stage_gets_a_replica_and_its_queue_ends() -> None:
    (one, alone), (two, shared) = crowded(1), crowded(2)
    assert crews(one) == {("mec",)}
    assert all(len(crew) == 2 for crew in crews(two))
    assert any("autoscale" in note.why for note in shared.notes)
    assert shared.figures["mec2.utilisation"] > 0.3 > alone.figures["mec2.utilisation"] == 0.0
    assert shared.figures["latency_p95_s"] < 0.5 * alone.figures["latency_p95_s"]


def test_compiled_and_plain_scale_alike() -> None:
    plainly, compiled = (crowded(2, compiled=how, duration_s=8.0)[1] for how in (False, True))
    assert plainly.notes == compiled.notes
    assert plainly.figures == pytest.approx(compiled.figures, rel=1e-9, nan_ok=True)


def test_a_replica_takes_as_much_longer_as_it_is_slower() -> None:
    told = scenario(nodes=[*NODES[:2], NODES[2] | {"speed": 0.5}], links=LINKS)
    read = {one.name: read_pipeline(one) for one in told.pipelines}
    service = services(told, Draws(1, 0), read)["detect"]
    plan = plan_on("phone", "mec")
    stage = replace(plan.stages[1], node="mec", operators=("body", "head"), seconds=0.008, replicas=("mec2",))
    way = way_of(replace(plan, stages=(replace(plan.stages[0], operators=("stem",)), stage)), 7, ("y",), service)
    run = [step for step in way.steps if isinstance(step, Run)][1]
    assert (run.seconds_on("mec"), run.seconds_on("mec2")) == pytest.approx((0.008, 0.016))


def test_each_pipeline_varies_by_itself() -> None:
    steady = {"name": "steady", "input_kb": 1.0, "steps": STEPS}
    told = scenario(
        pipelines=[plain()["pipelines"][0] | {"variation": 0.5}, steady],
        users=[users("w", 2), users("s", 2, pipeline="steady")],
    )
    read = {one.name: read_pipeline(one) for one in told.pipelines}
    found = services(told, Draws(1, 0), read)
    assert found["steady"].stretch is None
    stretch = found["detect"].stretch
    assert stretch is not None
    drawn = [stretch() for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(1.0, abs=4 * 0.5 / 4000**0.5)


def test_each_pipeline_has_the_batches_that_were_measured_of_it() -> None:
    measured = {"name": "look", "model": "efficientnet_lite0.json"}
    told = scenario(
        pipelines=[plain()["pipelines"][0], measured],
        nodes=[
            *NODES[:2],
            {"name": "watch", "tier": "device", "like": "xeon-1core"},
            {"name": "mec2", "tier": "edge", "like": "xeon-1core"},
        ],
        links=LINKS,
        users=[users("w", 2), users("l", 2, pipeline="look", device="watch")],
    )
    read = {one.name: read_pipeline(one) for one in told.pipelines}
    found = services(told, Draws(1, 0), read)
    assert found["detect"].curves["mec2"] == {}
    profile = read["look"][1]
    (curve,) = [dict(one.batch_s) for key, one in profile.engines.items() if key.node_class == "xeon-1core"][:1]
    assert found["look"].curves["mec2"] == curve
