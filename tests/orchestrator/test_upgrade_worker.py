"""One worker replaced under load, over fake agents: what moves, what stays where it was, and what goes back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nodes.code_version import code_version
from nodes.errors import UnsupportedOperator
from nodes.stage_spec import StageSpec
from nodes.store import Store
from orchestrator import upgrade_worker
from orchestrator.agent import WorkerWanted
from orchestrator.controller import Controller
from orchestrator.errors import ClusterError, DeploymentFailed
from orchestrator.routers import Command, Drain, Renew, Switch
from orchestrator.routes import Reach
from tests.eventually import eventually_here
from tests.orchestrator.fake_agents import FakeAgent, fleet_of, found
from tests.orchestrator.small_site import blueprint_of

Loaded = tuple[str, int, str]  # the worker's key, the epoch and the stage


@dataclass
class TwoWorkers(FakeAgent):
    """A host that starts a second worker of a node, "NODE@2" at NODE:2; it can't load what is in `refused`."""

    code: str = field(default_factory=code_version)
    refused: str = ""
    log: list[Loaded] = field(default_factory=list)
    dropped: list[Loaded] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    loading: asyncio.Event = field(default_factory=asyncio.Event)  # what the second worker waits for
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # set once it waits

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        match method, args:
            case "beside", (WorkerWanted(node=node),):
                one = found(node)
                reach, claimed = Reach(node=node, address=f"{node}:2"), replace(one.claimed, code=self.code)
                return replace(one, key=f"{node}@2", reach=reach, claimed=claimed)
            case "stop" | "take_back", (*_, str(key)):
                self.ended.append(key)
            case "call", (str(key), "load_stage", StageSpec() as spec):
                if key.endswith("@2"):
                    self.asked.set()
                    await self.loading.wait()
                if key.endswith("@2") and self.refused in (f"{spec.deployment}/{spec.stage}", "all"):
                    raise UnsupportedOperator("the new release knows no Frobnicate")
                self.log.append((key, spec.epoch, spec.stage))
            case "call", (str(key), "drop_stage", _, int(epoch), str(stage)):
                self.dropped.append((key, epoch, stage))
        return await super().run(method, *args, **options)


class Site:
    """A controller with "two" deployed (camera, then cloud), and a router r1 that does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.agent = folder, TwoWorkers()
        self.agent.loading.set()
        self.fleet = fleet_of(self.agent)
        self.controller = Controller(self.fleet, Store(folder / "artifacts"), folder)
        self.routes: dict[str, Switch | Renew] = {}
        self.following: asyncio.Task[None] | None = None
        self.is_over = False

    async def deploy(self, name: str = "two", **options: Any) -> None:
        blueprint = blueprint_of(self.folder, **options)
        blueprint = replace(blueprint, spec=replace(blueprint.spec, name=name))
        await self.fleet.bring_up(blueprint.spec.topology)
        await self.controller.deploy(blueprint, blueprint.spec.model)
        self.controller.join("r1", name)
        self.following = self.following or asyncio.create_task(self._follow())
        await eventually_here(lambda: name in self.routes, what="the router has routes")

    async def _follow(self) -> None:
        while not self.is_over:  # a wait that has just ended swallows a cancellation
            for command in await self.controller.poll("r1"):
                self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Switch(routes=routes):
                self.routes[routes.deployment] = command
                self.controller.switched("r1", routes.deployment, routes.epoch)
            case Renew(routes=routes):
                self.routes[routes.deployment] = command
            case Drain(deployment=name, epoch=epoch):
                self.controller.drained("r1", name, epoch)

    async def upgrade(self, node: str) -> None:
        await self.controller.upgrade.replace(node, code_version())

    def addresses(self, name: str = "two") -> list[str]:
        """Where the router sends this deployment's requests, stage by stage."""
        return [reach.address for _, reach in self.routes[name].routes.stages]

    def holders(self, name: str = "two") -> set[str]:
        """The workers that loaded the epoch in use."""
        epoch = self.controller.status()["deployments"][name]["epoch"]
        return {key for key, number, _ in self.agent.log if number == epoch}


def at_site(folder: Path, story: Callable[[Site], Awaitable[None]]) -> None:
    """Run a story in an event loop of its own."""

    async def run() -> None:
        site = Site(folder)
        try:
            await asyncio.wait_for(story(site), 20)
        finally:
            site.is_over = True
            if site.following is not None:
                site.following.cancel()
                with suppress(asyncio.CancelledError):
                    await site.following
            await site.controller.close()

    asyncio.run(run())


def test_what_runs_is_loaded_on_the_new_worker_then_switched_to_and_the_old_one_ends(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.deploy()
        await site.upgrade("camera")
        assert (site.addresses(), site.holders()) == (["camera:2", "cloud:1"], {"camera@2", "cloud"})
        assert site.agent.shaped["camera@2"]
        assert ("camera", 1, "s1") in site.agent.dropped  # where it was loaded
        assert site.agent.ended == ["camera"]
        await site.upgrade("cloud")
        assert site.addresses() == ["camera:2", "cloud:2"]

    at_site(tmp_path, story)


def test_until_it_is_loaded_anew_routers_are_sent_to_the_old_worker(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.deploy()
        site.agent.loading.clear()
        upgrade = asyncio.create_task(site.upgrade("camera"))
        await site.agent.asked.wait()
        site.controller.join("r2", "two")
        (late,) = [one for one in await site.controller.poll("r2") if isinstance(one, Switch)]
        assert [reach.address for _, reach in late.routes.stages] == ["camera:1", "cloud:1"]
        with pytest.raises(DeploymentFailed, match="worker of node camera is being replaced"):
            await site.deploy(digest="e")
        with pytest.raises(ClusterError, match="worker of node camera is being replaced"):
            await site.upgrade("cloud")
        site.controller.leave("r2")
        site.agent.loading.set()
        await upgrade
        assert site.addresses() == ["camera:2", "cloud:1"]

    at_site(tmp_path, story)


def test_where_a_stage_does_not_load_on_it_the_new_worker_ends_and_what_had_moved_moves_back(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        await site.deploy("one")
        await site.deploy("two")
        site.agent.refused = "two/s1"
        with pytest.raises(
            ClusterError, match=r"node camera: two can't be loaded.*Frobnicate.*old worker serves as before"
        ):
            await site.upgrade("camera")
        assert site.addresses("one") == site.addresses("two") == ["camera:1", "cloud:1"]
        assert ("camera@2", 2, "s1") in site.agent.log  # one had moved
        assert site.agent.ended == ["camera@2"]
        site.agent.refused = ""
        await site.upgrade("camera")
        assert site.addresses("one") == site.addresses("two") == ["camera:2", "cloud:1"]

    at_site(tmp_path, story)


@pytest.mark.parametrize(("code", "told"), [("0.0.9+wire1", r"is 0\.0\.9\+wire1, not"), ("", "is too old to tell")])
def test_where_other_code_is_installed_the_new_worker_ends_before_anything_moves(
    tmp_path: Path, code: str, told: str
) -> None:
    async def story(site: Site) -> None:
        await site.deploy()
        site.agent.code = code
        with pytest.raises(ClusterError, match=f"node camera: the code installed there {told}.*install that there"):
            await site.upgrade("camera")
        assert (site.addresses(), site.agent.ended) == (["camera:1", "cloud:1"], ["camera@2"])
        assert site.controller.status()["deployments"]["two"]["epoch"] == 1

    at_site(tmp_path, story)


@pytest.mark.parametrize(("lost", "serves"), [("camera@2", "camera:1"), ("camera", "camera:2")])
def test_whichever_of_two_workers_dies_the_other_serves(tmp_path: Path, lost: str, serves: str) -> None:
    async def story(site: Site) -> None:
        await site.deploy()
        site.agent.loading.clear()
        upgrade = asyncio.create_task(site.upgrade("camera"))
        await site.agent.asked.wait()
        await site.controller.worker_event("camera", {"event": "lost", "message": "it died", "worker": lost})
        site.agent.refused = "all" if lost == "camera@2" else ""
        site.agent.loading.set()
        with suppress(ClusterError):
            await upgrade
        assert site.controller.status()["lost_nodes"] == []
        assert site.addresses() == [serves, "cloud:1"]

    at_site(tmp_path, story)


def test_an_upgrade_waits_for_other_changes_and_says_which_it_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade_worker, "CALM_S", 0.1)

    async def story(site: Site) -> None:
        await site.deploy()
        site.controller.suspect("two", 1, "s1", "camera", "bad answers")
        site.agent.faults["s1"] = UnsupportedOperator("nothing loads")
        with pytest.raises(ClusterError, match="two is being changed; wait for that, then upgrade again"):
            await site.upgrade("cloud")
        assert site.agent.ended == ["cloud@2"]

    at_site(tmp_path, story)
