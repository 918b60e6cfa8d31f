"""The controller: the shell around the control core. It keeps the journal, plans, and has workers and routers told.

Everything it decides comes from `control.py`; everything it learns goes there as an event. Runs as one Ray
actor (ray_shell.py wraps it), but knows Ray only through the fleet's agents. One that finds an earlier one's journal
goes on where that stopped, with the workers that are still there.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from nodes.store import Store
from orchestrator.autoscaling import load_of
from orchestrator.blueprint import Blueprint
from orchestrator.blueprint_file import BlueprintFiles, version_digest
from orchestrator.desk import Desk
from orchestrator.errors import ClusterError, DeploymentFailed, JournalError, OrchestratorError, UnknownDeployment
from orchestrator.events import (
    DeleteRequested,
    DeployRequested,
    EpochDrained,
    Event,
    LinkObserved,
    NodeJoined,
    NodeLost,
    PlanFound,
    RouterJoined,
    RouterLeft,
    RouterSwitched,
    StageFailed,
    Tick,
)
from orchestrator.fleet import Fleet
from orchestrator.instructions import (
    Deleted,
    DrainEpoch,
    DropStage,
    EndTrial,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    LoadStage,
    OpenEpoch,
    Promote,
    Refuse,
    SplitTraffic,
    StandBy,
    SwitchRouters,
    TakeVersion,
)
from orchestrator.journal import Journal
from orchestrator.links_seen import LinkEstimate
from orchestrator.loader import Loader
from orchestrator.network import Observation, Origin, Sources, origin_of
from orchestrator.plan_json import plan_to_json
from orchestrator.recorder import Recorder
from orchestrator.recovered import put_aside, recovered
from orchestrator.resuming import resume
from orchestrator.rnis.radio import Radio, radio_links
from orchestrator.rollout_desk import RolloutDesk
from orchestrator.routers import Command, Drain, Offer, Rejoin, Renew, Routers, Switch
from orchestrator.routes import EpochRoutes
from orchestrator.spec import DeploymentSpec
from orchestrator.upgrade_worker import WorkerUpgrade
from orchestrator.watchman import Watchman
from orchestrator.waymarks import routes_of
from orchestrator.wishes import guessed_links, room_of
from partitioner.plan import Plan
from partitioner.topology import Link

TICK_S = 1.0


class Controller:
    """Holds the cluster's deployments. All methods run in one event loop."""

    def __init__(self, fleet: Fleet, store: Store, folder: Path) -> None:
        """`folder` holds the journal and the blueprints, of this controller and of the one before it."""
        self.fleet = fleet
        self.store = store
        self._history: list[dict[str, Any]] = []
        path = folder / "journal.sqlite"
        self._control = recovered(path, self._note)
        self._journal = Journal(path)
        self._recorder = Recorder(self._control, self._journal, on_late=self._note_late)
        self._files = BlueprintFiles(folder / "blueprints")
        self._routers = Routers()
        self._desk = Desk()
        self._loader = Loader(fleet, store, lambda name, epoch, why: self._note("load", name, epoch, why))
        self._watchman = Watchman(fleet, self._desk, lose=self._lose, found=self._found, note=self._note)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.upgrade = WorkerUpgrade(self._control, fleet, self._handle, self._renew_routes)
        self.rollouts = RolloutDesk(
            *(self._control, self._desk, self._files, self._routers),
            ask=self._ask, handle=self._handle, answer=self._answer, routes=self._routes_if_there, note=self._note,
        )  # fmt: skip
        self._tasks: set[asyncio.Task[None]] = set()
        self._resumed = asyncio.Event()
        self._sources = Sources()
        self._radio = Radio(self._radio_saw)

    async def begin(self) -> None:
        """Go on where an earlier controller stopped, then start ticking."""
        resumed = await resume(self._control, self.fleet, self._desk, self._loader, self._files, self._note)
        for event in resumed.events:
            self._handle(event)
        for instruction in self._control.outstanding():
            self._carry_out(instruction)
        for node in resumed.missing:
            self._watchman.expect(node)
        self._watch_radio()
        self._resumed.set()
        self._spawn(self._tick())
        if not self.fleet.emulated:  # on one machine there is no cable to be cut, and load may make a worker slow
            self._spawn(self._watchman.ask_around())

    # What clients ask

    async def deploy(self, blueprint: Blueprint, model: Path) -> dict[str, Any]:
        """Bring a deployment up, or change a running one; its status once it serves. `model` is where it was read.

        DeploymentFailed with the cause.
        """
        name, spec = blueprint.spec.name, blueprint.spec
        before = self._desk.blueprints.get(name)
        self._desk.blueprints[name] = blueprint
        for node in self._control.status()["lost_nodes"]:
            if node in self.fleet.members():  # it was brought up again for this deployment
                self._handle(NodeJoined(node=node))
        links = guessed_links(spec)
        if self.fleet.emulated:
            self._now_emulated(links)
        digest = version_digest(blueprint)
        self._desk.keep(blueprint, digest)
        try:
            self._files.save(blueprint, model)
            await self._ask(name, DeployRequested(deployment=name, spec=digest, links=links, room=room_of(spec)))
        except (DeploymentFailed, JournalError):
            self._desk.blueprints.pop(name)  # what runs, if anything, is what it was
            self._desk.blueprints |= {} if before is None else {name: before}
            raise
        self._watch_radio()
        status: dict[str, Any] = self.status()["deployments"][name]
        return status

    def _now_emulated(self, links: tuple[LinkEstimate, ...]) -> None:
        """Links that were measured at other rates than those they now emulate are as if measured at these."""
        measured = {(link["from"], link["to"]): link["bytes_per_s"] for link in self._control.status()["links"]}
        for link in links:
            if measured.get((link.source, link.target), link.bytes_per_s) != link.bytes_per_s:
                rate, delay_s = link.bytes_per_s, link.propagation_s
                self._handle(
                    LinkObserved(
                        source=link.source, target=link.target, bytes_per_s=rate, propagation_s=delay_s, samples=0
                    )
                )

    async def delete(self, name: str) -> None:
        """Drain a deployment and unload it everywhere. UnknownDeployment for a name not here."""
        await self._ask(name, DeleteRequested(deployment=name))
        self._desk.forget(name)
        self._files.forget(name)
        self._loader.forget(name)
        self._routers.forget(name)
        self._watch_radio()

    def status(self) -> dict[str, Any]:
        """Deployments with their plans, workers, routers, links and the journal, as plain values."""
        told = self._control.status()
        for name, facts in told["deployments"].items():
            plan = self._desk.plans.get((name, facts["epoch"]))
            facts["plan"] = None if plan is None else plan_to_json(plan)
        told["routers"] = self._routers.names()
        told["history"] = list(self._history)
        told["journal"] = self._recorder.status()
        told["rnis"] = list(self._radio.faults())
        return told

    def plan(self, name: str) -> Plan:
        """The plan that a deployment runs. UnknownDeployment if it runs none."""
        return self._desk.plan(name, self._active(name))

    def spec(self, name: str) -> DeploymentSpec:
        """What is asked of a deployment. UnknownDeployment."""
        return self._desk.spec(name)

    def _active(self, name: str) -> int | None:
        epoch: int | None = self._control.status()["deployments"].get(name, {}).get("epoch")
        return epoch

    async def shape(self, links: tuple[Link, ...]) -> None:
        """Change emulated links, for one-machine deployments: what a failing network does elsewhere."""
        await self.fleet.shape(links)
        self._renew_routes()

    def _renew_routes(self) -> None:
        """Tell every router what has changed about the epoch it sends to."""
        for name in self._desk.blueprints:
            if (routes := self._current_routes(name)) is not None:
                for router in self._routers.of(name):
                    self._routers.tell(router, Renew(routes=routes))

    # What routers ask and tell

    def join(self, router: str, deployment: str) -> None:
        """A router wants a deployment's routes; they come with its next poll. UnknownDeployment if there is none."""
        if deployment not in self._desk.blueprints:
            raise UnknownDeployment(deployment, tuple(self._desk.blueprints))
        self._routers.join(router, deployment, time.time())
        self._handle(RouterJoined(deployment=deployment, router=router))

    async def poll(self, router: str) -> list[Command]:
        """What a router is to do next; waits a while for it. One that an earlier controller knew is to join again."""
        if not self._routers.knows(router):
            return [Rejoin()]
        return await self._routers.poll(router, time.time())

    def switched(self, router: str, deployment: str, epoch: int) -> None:
        """A router sends new requests to this epoch now."""
        self._handle(RouterSwitched(deployment=deployment, router=router, epoch=epoch))

    def drained(self, router: str, deployment: str, epoch: int) -> None:
        """A router has no request left in this epoch."""
        self._handle(EpochDrained(deployment=deployment, router=router, epoch=epoch))

    def leave(self, router: str) -> None:
        """A router is gone."""
        for deployment in self._routers.leave(router):
            self._handle(RouterLeft(deployment=deployment, router=router))

    def observe(
        self,
        source: str,
        target: str,
        bytes_per_s: float | None,
        rtt_s: float | None,
        samples: int,
        std: float | None = None,
        origin: Origin = "streams",
        by: str = "",
    ) -> None:
        """A link was measured; a figure that is not known yet is left as it is believed.

        So is one whose `origin` is trusted less than another source that has told of the link just now, and one that
        is less sure than another observer's (`by`: a worker's node, or "" for routers).
        """
        if bytes_per_s is None or rtt_s is None:
            return
        now_s = time.time()
        seen = Observation(
            source=source, target=target, bytes_per_s=bytes_per_s, propagation_s=rtt_s / 2, std=std or 0.0,
            at_s=now_s, origin=origin, by=by,
        )  # fmt: skip
        if not self._sources.heard(seen, now_s):
            return
        self._handle(
            LinkObserved(
                source=source, target=target, bytes_per_s=bytes_per_s, propagation_s=rtt_s / 2, samples=samples,
                std=std or 0.0,
            )
        )  # fmt: skip

    def _radio_saw(self, seen: Observation) -> None:
        rtt_s = None if seen.propagation_s is None else 2 * seen.propagation_s
        self.observe(seen.source, seen.target, seen.bytes_per_s, rtt_s, 1, seen.std, origin="rnis")

    def _watch_radio(self) -> None:
        """Follow the radio links of what is deployed."""
        topologies = [blueprint.spec.topology for blueprint in self._desk.blueprints.values()]
        self._radio.watch(link for topology in topologies for link in radio_links(topology))

    def suspect(self, deployment: str, epoch: int, stage: str, node: str, why: str) -> None:
        """A stage gives answers that are no fault of their requests: it is replaced. Late news is let go."""
        try:
            self._handle(StageFailed(deployment=deployment, epoch=epoch, stage=stage, node=node, error=why))
        except OrchestratorError as late:
            self._note("late", deployment, epoch, str(late))

    # What agents tell

    async def worker_event(self, node: str, event: Mapping[str, Any]) -> None:
        """An event of a worker, as `nodes.worker_client.WorkerClient.watch` gives it, or that it was lost."""
        try:
            self._note_event(node, event)
        except OrchestratorError as late:  # of a deployment or an epoch that is gone by now
            self._note("late", node, None, str(late))

    def _note_event(self, node: str, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "link":
                figures = (event["goodput_bytes_per_s"], event["rtt_s"], event["samples"], event.get("goodput_std"))
                self.observe(event["source"], event["target"], *figures, origin_of(event.get("by_probes", False)), node)
            case "load" if (load := load_of(self._control.deployments(), node, event)) is not None:
                self._handle(load)
            case "stage_failed":
                self._handle(
                    StageFailed(
                        deployment=event["deployment"],
                        epoch=event["epoch"],
                        stage=event["stage"],
                        node=node,
                        error=event["message"],
                    )
                )
            case "lost":
                if not self.upgrade.lost(node, event.get("worker", ""), event["message"]):
                    self._lose(node, event["message"])

    def _lose(self, node: str, why: str) -> None:
        self._note("lost", "", None, f"node {node}: {why}")
        self.fleet.lose(node)
        self._handle(NodeLost(node=node))
        self._watchman.expect(node)

    def _found(self, node: str) -> None:
        self._handle(NodeJoined(node=node))
        self._renew_routes()  # its worker may have another address than the one that is watched

    async def close(self) -> None:
        """Stop ticking and close the journal; workers go on."""
        for task in list(self._tasks):
            task.cancel()
        self._watchman.close()
        await self._radio.close()
        self._journal.close()

    async def end(self) -> None:
        """Stop for good: what was deployed is no more, and its journal is put aside."""
        await self.close()
        self._files.clear()
        put_aside(self._journal.path)

    # The pump

    def _handle(self, event: Event) -> None:
        for instruction in self._recorder.take(event, time.time()):
            self._carry_out(instruction)
        self._settle()

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case FindPlan():
                self._spawn(self._find(instruction), instruction.deployment)
            case OpenEpoch(deployment=name, epoch=epoch, plan=plan):
                known = self._control.deployments().get(name)
                held = self._desk.open(name, epoch, plan, known, on_trial=instruction.version > 0)
                self._loader.begin(name, epoch, self._desk.bases[name, epoch], plan, held)
                self._note("prepare" if instruction.standby else "open", name, epoch, instruction.reason)
            case LoadStage():
                self._spawn(self._load(instruction), instruction.deployment)
            case DropStage():
                self._spawn(self._drop(instruction), instruction.deployment)
            case SwitchRouters() | StandBy() | DrainEpoch():
                self._tell_routers(instruction)
            case SplitTraffic() | EndTrial() | TakeVersion():
                self.rollouts.carry_out(instruction)
            case _:
                self._tell_askers(instruction)

    def _tell_routers(self, instruction: SwitchRouters | StandBy | DrainEpoch) -> None:
        name, epoch = instruction.deployment, instruction.epoch
        match instruction:
            case SwitchRouters():
                self._note("switch", name, epoch, instruction.reason)
                command: Command | None = self._with_routes(Switch, name, epoch)
            case StandBy():
                command = self._with_routes(Offer, name, epoch)
            case DrainEpoch():
                command = Drain(deployment=name, epoch=epoch)
        for router in instruction.routers if command is not None else ():
            assert command is not None
            self._routers.tell(router, command)

    def _routes_if_there(self, name: str, epoch: int) -> EpochRoutes | None:
        try:
            return self._routes(name, epoch)
        except ClusterError as error:  # a node was lost this moment; the core hears of it next
            self._note("late", name, epoch, str(error))
            return None

    def _with_routes(self, kind: type[Switch | Offer], name: str, epoch: int) -> Command | None:
        if (routes := self._routes_if_there(name, epoch)) is None:
            return None
        leaves = self._control.deployments()[name].active
        if kind is Offer or leaves == epoch:
            return kind(routes=routes)
        old_s, new_s = (self._control.latency_s(name, one) for one in (leaves, epoch))
        return Switch(routes=routes, leaves=leaves, old_s=old_s, new_s=new_s)

    def _tell_askers(self, instruction: Instruction) -> None:
        match instruction:
            case KeepEpoch(deployment=name, reason=reason):
                self._note("keep", name, None, reason)
            case Promote(deployment=name, epoch=epoch, reason=reason):
                self._note("open", name, epoch, reason)
            case Refuse(deployment=name, error=error) | Fail(deployment=name, error=error):
                self.rollouts.refused(name)
                self._note("fail", name, None, error)
                self._answer(name, DeploymentFailed(f"{name}: {error}"))
            case Deleted(deployment=name):
                self._answer(name, None)

    async def _ask(self, name: str, event: Event) -> None:
        """Hand in a wish and wait until it is granted or refused."""
        if name in self._waiting:
            raise DeploymentFailed(f"{name}: another change of it is under way; wait for it")
        if self.upgrade.node is not None:
            raise DeploymentFailed(f"{name}: the worker of node {self.upgrade.node} is being replaced; wait for that")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[name] = future
        try:
            self._handle(event)
            await future
        finally:
            del self._waiting[name]

    def _answer(self, name: str, error: OrchestratorError | None) -> None:
        future = self._waiting.get(name)
        if future is not None and not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _settle(self) -> None:
        """Whoever waits for a deployment to serve is told when it does."""
        if not self._waiting:
            return
        for name, facts in self._control.status()["deployments"].items():
            is_done = facts["state"] == "running" and not facts["renewal"] and facts["is_in_force"]
            if name in self._waiting and is_done and not self.rollouts.is_beginning(name):
                self._answer(name, None)

    async def _find(self, wanted: FindPlan) -> None:
        name = wanted.deployment
        answer = await self._desk.find(wanted, self._active(name))
        if answer is None:
            return  # deleted since it was asked
        self._handle(answer)
        if wanted.version:
            return  # a version on trial keeps its plan; its others are found once it is in force
        deployment = self._control.deployments().get(name)
        held = [] if deployment is None else [epoch.plan for epoch in deployment.epochs]
        mapped = await self._desk.map(wanted, *([answer.plan] if isinstance(answer, PlanFound) else []), *held)
        if mapped is not None and name in self._desk.blueprints:
            self._handle(mapped)
            self._renew_routes()
            plans = [known.plan for known in mapped.plan_map.plans]
            await self._loader.stock(name, self._desk.blueprints[name], plans)

    async def _load(self, wanted: LoadStage) -> None:
        self._handle(await self._loader.load(wanted))

    async def _drop(self, wanted: DropStage) -> None:
        self._handle(await self._loader.drop(wanted))

    def _current_routes(self, name: str) -> EpochRoutes | None:
        """Of the epoch that a deployment runs; None if there is none, or it has lost a stage."""
        facts = self._control.status()["deployments"].get(name, {})
        epoch = facts.get("epoch")
        return self._routes(name, epoch) if (name, epoch) in self._desk.plans and not facts["lost_stage"] else None

    def _routes(self, name: str, epoch: int) -> EpochRoutes:
        base, plan = self._desk.bases[name, epoch], self._desk.plans[name, epoch]
        record = self._control.deployments()[name].epoch(epoch)
        version = 0 if record is None else record.version
        return routes_of(self.fleet, base, plan, name, epoch, version, self._control.pace(name, epoch))

    def _note_late(self, event: Event, error: OrchestratorError) -> None:
        self._note("late", str(getattr(event, "deployment", "")), None, str(error))

    def _note(self, what: str, deployment: str, epoch: int | None, why: str) -> None:
        self._history.append({"at_s": time.time(), "what": what, "deployment": deployment, "epoch": epoch, "why": why})
        del self._history[:-200]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for router in self._routers.lost(time.time()):
                self.leave(router)
            self._handle(Tick())

    def _spawn(self, work: Coroutine[Any, Any, None], deployment: str = "") -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=deployment)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            fault = task.exception()
            self._note("fault", task.get_name(), None, f"{type(fault).__name__}: {fault}")
            name = task.get_name()  # of the deployment that it worked for
            self._answer(name, DeploymentFailed(f"{name}: {type(fault).__name__}: {fault}"))
