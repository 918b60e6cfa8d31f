"""The controller over fake agents (no worker, no Ray): what it tells workers and routers, and what it answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodes.errors import UnsupportedOperator
from nodes.store import Store
from orchestrator import controller as shell
from orchestrator.controller import Controller
from orchestrator.errors import DeploymentFailed, UnknownDeployment
from orchestrator.instructions import FindPlan
from orchestrator.routers import Command, Drain, Offer, Rejoin, Renew, Switch
from tests.eventually import eventually_here
from tests.orchestrator.fake_agents import FakeAgent, fleet_of
from tests.orchestrator.small_site import blueprint_of, site

REFUSED = UnsupportedOperator("openvino does not support operator Frobnicate")


class Desk:
    """A controller with its fake agent, and one router that does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.agent = folder, FakeAgent()
        self.take_over()

    def take_over(self) -> None:
        """A controller that finds what one before it left on the disk and on the workers."""
        self.fleet = fleet_of(self.agent)
        self.controller = Controller(self.fleet, Store(self.folder / "artifacts"), self.folder)

    async def deploy(self, **options: object) -> dict[str, object]:
        blueprint = blueprint_of(self.folder, **options)  # type: ignore[arg-type]
        await self.fleet.bring_up(blueprint.spec.topology)
        return await self.controller.deploy(blueprint, blueprint.spec.model)

    async def told(self, router: str = "r1") -> list[Command]:
        """The next commands, but for what is only renewed, as when the plans have been mapped."""
        while not (told := [one for one in await self.controller.poll(router) if not isinstance(one, Renew)]):
            pass
        return told

    async def obey(self, router: str = "r1") -> list[Command]:
        """Ask as a router does, and do it at once."""
        commands = await self.told(router)
        for command in commands:
            match command:
                case Switch(routes=routes):
                    self.controller.switched(router, routes.deployment, routes.epoch)
                case Drain(deployment=name, epoch=epoch):
                    self.controller.drained(router, name, epoch)
        return commands

    def epochs_held(self) -> set[int]:
        return {epoch for _, epoch, _ in self.agent.held}


def at_desk(folder: Path, story: Callable[[Desk], Awaitable[None]]) -> None:
    """Run a story in an event loop of its own."""

    async def run() -> None:
        desk = Desk(folder)
        try:
            await story(desk)
        finally:
            await desk.controller.close()

    asyncio.run(run())


def test_a_deployment_serves_once_every_stage_is_loaded(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        status = await desk.deploy()
        assert (status["state"], status["epoch"]) == ("running", 1)
        assert [spec.node for spec in desk.agent.held.values()] == ["camera", "cloud"]
        first = next(spec for spec in desk.agent.held.values() if spec.node == "camera")
        assert first.successor is not None and first.successor.address == "cloud:1"
        assert (first.slowdown, first.sends) == (10.0, ("narrow",))

    at_desk(tmp_path, story)


def test_a_stage_that_cannot_load_fails_the_deployment_and_is_named(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.agent.faults["s2"] = REFUSED
        with pytest.raises(DeploymentFailed, match="two: stage s2 on cloud: openvino does not support"):
            await desk.deploy()
        await eventually_here(lambda: not desk.agent.held, what="what was loaded is dropped")
        with pytest.raises(UnknownDeployment, match="there are none"):
            desk.controller.join("r1", "two")

    at_desk(tmp_path, story)


def test_after_a_failed_deployment_the_same_name_can_be_deployed(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        desk.agent.faults["s2"] = REFUSED
        with pytest.raises(DeploymentFailed):
            await desk.deploy()
        desk.agent.faults.clear()
        assert (await desk.deploy())["state"] == "running"

    at_desk(tmp_path, story)


def test_a_failed_change_leaves_the_old_epoch_running_with_its_own_inputs(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        desk.agent.faults["s1"] = REFUSED
        with pytest.raises(DeploymentFailed, match="stage s1 on camera"):
            await desk.deploy(given="other", digest="e")
        desk.controller.join("r1", "two")
        (switch,) = await desk.obey()
        assert isinstance(switch, Switch)
        assert (switch.routes.epoch, [spec.name for spec in switch.routes.inputs]) == (1, ["x"])
        await eventually_here(lambda: desk.epochs_held() == {1}, what="only the old epoch is loaded")

    at_desk(tmp_path, story)


def test_a_change_that_fits_nowhere_leaves_the_old_epoch_running(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        with pytest.raises(DeploymentFailed, match="two: no plan fits: memory"):
            await desk.deploy(topology=site(memory_bytes=100), digest="e")
        assert desk.controller.status()["deployments"]["two"]["state"] == "running"
        assert desk.epochs_held() == {1}

    at_desk(tmp_path, story)


def test_a_change_switches_routers_before_the_old_epoch_is_dropped(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        desk.controller.join("r1", "two")
        await desk.obey()
        change = asyncio.create_task(desk.deploy(given="other", digest="e"))
        (switch,) = await desk.told()
        assert isinstance(switch, Switch) and [spec.name for spec in switch.routes.inputs] == ["other"]
        assert desk.epochs_held() == {1, 2}
        desk.controller.switched("r1", "two", 2)
        assert (await change)["epoch"] == 2
        assert await desk.obey() == [Drain(deployment="two", epoch=1)]
        await eventually_here(lambda: desk.epochs_held() == {2}, what="the old epoch is dropped")

    at_desk(tmp_path, story)


def test_two_changes_at_once_are_refused(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        first = asyncio.create_task(desk.deploy())
        with pytest.raises(DeploymentFailed, match="another change of it is under way"):
            await asyncio.gather(first, desk.deploy(given="other", digest="e"))
        assert (await first)["state"] == "running"

    at_desk(tmp_path, story)


def test_deleting_unloads_everything_once_routers_have_drained(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        desk.controller.join("r1", "two")
        await desk.obey()
        deletion = asyncio.create_task(desk.controller.delete("two"))
        assert await desk.obey() == [Drain(deployment="two", epoch=1)]
        await deletion
        assert desk.agent.held == {}
        assert desk.controller.status()["deployments"] == {}

    at_desk(tmp_path, story)


def test_what_is_not_deployed_cannot_be_deleted_or_asked_for(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        for ask in (lambda: desk.controller.delete("three"), _wrapped(desk.controller.plan, "three")):
            with pytest.raises(UnknownDeployment, match="no deployment 'three'; there is two"):
                await ask()

    at_desk(tmp_path, story)


def test_a_lost_worker_is_brought_back_and_its_stage_loaded_again(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        await desk.controller.worker_event("cloud", {"event": "lost", "message": "killed"})
        await eventually_here(lambda: desk.agent.started.count("cloud") == 2, what="a new worker")
        status = desk.controller.status
        await eventually_here(lambda: status()["deployments"]["two"]["epoch"] == 2, what="a new epoch")

    at_desk(tmp_path, story)


def test_a_link_that_drops_for_good_is_planned_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(shell, "time", SimpleNamespace(time=lambda: clock.now_s))

    async def story(desk: Desk) -> None:
        await desk.deploy()
        clock.now_s += 100
        await mapped(desk)
        desk.controller.observe("camera", "cloud", 10.0, 2e-4, 20)  # bytes/s: nothing can be sent any more
        clock.now_s += 10  # it stays so
        desk.controller.observe("camera", "cloud", 10.0, 2e-4, 30)
        await eventually_here(lambda: desk.epochs_held() == {2}, what="a new epoch")
        assert {spec.node for spec in desk.agent.held.values()} == {"camera"}
        assert "a known plan takes" in desk.controller.status()["deployments"]["two"]["reason"]

    at_desk(tmp_path, story)


async def mapped(desk: Desk) -> None:
    def known() -> bool:
        return desk.controller.status()["deployments"]["two"]["known_plans"] > 1  # type: ignore[no-any-return]

    await eventually_here(known, what="a map of the known plans")


def test_a_plan_stands_by_and_routers_hear_of_it(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy(standby_bytes=1 << 20)
        desk.controller.join("r1", "two")
        await desk.obey()
        await eventually_here(lambda: desk.epochs_held() == {1, 2}, what="an epoch that stands by")
        (offer,) = await desk.obey()
        assert isinstance(offer, Offer) and offer.routes.epoch == 2
        assert [reach.node for _, reach in offer.routes.stages] == ["camera"]

    at_desk(tmp_path, story)


def test_weights_of_known_plans_lie_on_their_nodes_before_they_are_wanted(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        held = [spec.artifact for spec in desk.agent.held.values()]
        await eventually_here(lambda: len(set(desk.agent.given)) > len(held), what="more than what is loaded")
        plans = [k.plan for k in desk.controller._control.deployments()["two"].plan_map.plans]  # type: ignore[union-attr]
        assert {tuple(s.node for s in plan.stages) for plan in plans} >= {("camera",), ("camera", "cloud")}
        await eventually_here(lambda: {node for node, _ in desk.agent.given} == {"camera", "cloud"}, what="both nodes")

    at_desk(tmp_path, story)


def test_a_later_controller_goes_on_without_touching_what_runs(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        before = await desk.deploy()
        desk.controller.join("r1", "two")
        await desk.obey()
        held = dict(desk.agent.held)
        await desk.controller.close()
        desk.take_over()
        await desk.controller.begin()
        after = desk.controller.status()["deployments"]["two"]
        assert (after["state"], after["epoch"], after["plan"]) == ("running", 1, before["plan"])
        assert desk.agent.held == held
        assert await desk.controller.poll("r1") == [Rejoin()]
        desk.controller.join("r1", "two")
        assert [type(command) for command in await desk.obey()] == [Switch]

    at_desk(tmp_path, story)


def test_a_later_controller_replaces_what_was_lost_meanwhile_and_drops_what_nobody_knows(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        await mapped(desk)
        await desk.controller.close()
        gone = next(key for key, spec in desk.agent.held.items() if spec.node == "cloud")
        stray = replace(desk.agent.held.pop(gone), deployment="old")
        desk.agent.held["old", 7, stray.stage] = replace(stray, epoch=7)
        desk.take_over()
        await desk.controller.begin()
        status = desk.controller.status
        await eventually_here(lambda: status()["deployments"]["two"]["epoch"] == 2, what="a new epoch")
        await eventually_here(lambda: desk.epochs_held() == {2}, what="nothing but the new epoch")

    at_desk(tmp_path, story)


def test_a_journal_that_cannot_be_read_is_kept_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("no journal" * 200)

    async def story(desk: Desk) -> None:
        (said,) = desk.controller.status()["history"]
        assert "not a journal" in said["why"] and "a new one begun" in said["why"]
        assert (await desk.deploy())["state"] == "running"

    at_desk(tmp_path, story)


def test_what_never_came_up_is_unknown_to_a_later_controller_too(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(DeploymentFailed, match="two: no plan fits: memory"):
            await desk.deploy(topology=site(memory_bytes=1000))
        await desk.controller.close()
        desk.take_over()
        await desk.controller.begin()
        with pytest.raises(UnknownDeployment, match="no deployment 'two'; there are none"):
            desk.controller.join("r1", "two")

    at_desk(tmp_path, story)


def test_after_the_end_a_later_controller_begins_anew(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        await desk.controller.end()
        desk.take_over()
        await desk.controller.begin()
        assert desk.controller.status()["deployments"] == {}

    at_desk(tmp_path, story)


def test_a_changed_topology_counts_for_more_than_what_was_measured_before(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        for source, target in (("camera", "cloud"), ("cloud", "camera")):
            desk.controller.observe(source, target, 1e6, 2e-4, 20)
        changed = await desk.deploy(topology=site(mbps=8e-5), digest="e")
        assert [stage["node"] for stage in changed["plan"]["stages"]] == ["camera"]  # type: ignore[index]

    at_desk(tmp_path, story)


def test_an_emulated_link_is_shaped_on_workers_and_at_routers(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.deploy()
        desk.controller.join("r1", "two")
        await desk.obey()
        await desk.controller.shape(tuple(replace(link, bytes_per_s=5.0) for link in site().links))
        told = (await desk.controller.poll("r1"))[-1]
        assert isinstance(told, Renew)
        assert {link.bytes_per_s for link in told.routes.shaped} == {5.0}
        assert {link.bytes_per_s for link in desk.agent.shaped["cloud"][0]} == {5.0}

    at_desk(tmp_path, story)


def test_a_silent_router_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(shell, "time", SimpleNamespace(time=lambda: clock.now_s))
    monkeypatch.setattr(shell, "TICK_S", 0.01)

    async def story(desk: Desk) -> None:
        await desk.controller.begin()
        await desk.deploy()
        desk.controller.join("r1", "two")
        await desk.obey()
        deletion = asyncio.create_task(desk.controller.delete("two"))
        clock.now_s += 60
        await asyncio.wait_for(deletion, 5)
        assert desk.controller.status()["routers"] == []

    at_desk(tmp_path, story)


def _wrapped(ask: Callable[[str], object], name: str) -> Callable[[], Awaitable[object]]:
    async def asked() -> object:
        return ask(name)

    return asked


def test_a_search_for_a_deployment_deleted_meanwhile_is_given_up(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        await desk.controller._find(FindPlan(deployment="gone", ticket=1, links=()))
        assert desk.controller.status()["deployments"] == {}

    at_desk(tmp_path, story)
