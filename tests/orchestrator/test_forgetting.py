"""Claims about what the controller's shell keeps of epochs: as long as there are any, and no longer."""

import asyncio
from pathlib import Path

from nodes.store import Store
from orchestrator.desk import Desk
from orchestrator.events import StageFailed, StageReady
from orchestrator.instructions import LoadStage
from orchestrator.loader import Loader
from partitioner.plan import Plan
from tests.builders import plan_on
from tests.orchestrator.cluster import running
from tests.orchestrator.fake_agents import FakeAgent, fleet_of
from tests.orchestrator.small_site import blueprint_of, site

PLAN = plan_on("camera")


def opened(desk: Desk, folder: Path) -> None:
    """Epochs 1 to 3 of two deployments."""
    desk.blueprints = dict.fromkeys(("classify", "read"), blueprint_of(folder))
    for name in desk.blueprints:
        for epoch in (1, 2, 3):
            desk.open(name, epoch, PLAN)


def test_a_new_epoch_has_those_forgotten_that_are_gone(tmp_path: Path) -> None:
    desk, known = Desk(), running(PLAN).control.deployments()["classify"]
    opened(desk, tmp_path)
    assert [one.number for one in known.epochs] == [1]
    assert desk.open("classify", 4, PLAN, known) == (1, 4)
    assert set(desk.bases) == set(desk.plans)
    assert [epoch for name, epoch in desk.bases if name == "read"] == [1, 2, 3]


def test_of_a_deleted_deployment_no_model_is_kept(tmp_path: Path) -> None:
    desk = Desk()
    opened(desk, tmp_path)
    desk.forget("classify")
    assert {name for name, _ in desk.bases} == {"read"}


def test_what_was_built_for_an_epoch_that_is_gone_is_forgotten_and_its_stages_are_not_loaded(tmp_path: Path) -> None:
    blueprint = blueprint_of(tmp_path)
    plan = blueprint.find()
    assert isinstance(plan, Plan)

    async def loaded(held: tuple[int, ...]) -> list[type[StageReady | StageFailed]]:
        fleet = fleet_of(FakeAgent())
        await fleet.bring_up(site())
        loader = Loader(fleet, Store(tmp_path / "artifacts"), lambda name, epoch, why: None)
        loader.begin("two", 1, blueprint, plan)
        loader.begin("two", 2, blueprint, plan, held)
        stage = plan.stages[0]
        wanted = [
            LoadStage(deployment="two", epoch=epoch, stage=stage.name, node=stage.node, index=0) for epoch in (1, 2)
        ]
        return [type(await loader.load(one)) for one in wanted]

    assert asyncio.run(loaded((1, 2))) == [StageReady, StageReady]
    assert asyncio.run(loaded((2,))) == [StageFailed, StageReady]
