"""The controller: the shell around the control core. It keeps the journal, plans, and has workers and routers told.

Everything it decides comes from `control.py`; everything it learns goes there as an event. Runs as one Ray
actor (ray_shell.py wraps it), but knows Ray only through the fleet's agents.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from nodes.errors import NodesError
from nodes.store import Store
from orchestrator.artifacts import Built, build, model_inputs
from orchestrator.blueprint import Blueprint
from orchestrator.control import Control
from orchestrator.errors import DeploymentFailed, OrchestratorError, UnknownDeployment
from orchestrator.events import (
    DeleteRequested,
    DeployRequested,
    EpochDrained,
    Event,
    LinkObserved,
    NodeJoined,
    NodeLost,
    PlanFound,
    PlanNotFound,
    RouterJoined,
    RouterLeft,
    RouterSwitched,
    StageFailed,
    StageReady,
    StageStopped,
    Tick,
)
from orchestrator.fleet import Fleet
from orchestrator.instructions import (
    Deleted,
    DrainEpoch,
    DropStage,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    LoadStage,
    OpenEpoch,
    Refuse,
    SwitchRouters,
)
from orchestrator.journal import Journal
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_json import plan_to_json
from orchestrator.routers import Command, Drain, Renew, Routers, Switch
from orchestrator.routes import EpochRoutes
from partitioner.errors import InvalidProblem, PartitionerError
from partitioner.plan import Infeasible, Plan
from partitioner.topology import Link, Node, Topology

TICK_S = 1.0
SNAPSHOT_EVERY = 500


class Controller:
    """Holds the cluster's deployments. All methods run in one event loop."""

    def __init__(self, fleet: Fleet, store: Store, journal: Path) -> None:
        self.fleet = fleet
        self.store = store
        self._control = Control()
        self._journal = Journal(journal)
        self._routers = Routers()
        self._blueprints: dict[str, Blueprint] = {}  # what each deployment is to be
        self._bases: dict[tuple[str, int], Blueprint] = {}  # what each epoch was opened for
        self._plans: dict[tuple[str, int], Plan] = {}
        self._builds: dict[tuple[str, int], asyncio.Task[dict[str, Built]]] = {}
        self._loading: dict[tuple[str, int, str], asyncio.Lock] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._returning: set[str] = set()
        self._told = 0
        self._history: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Start ticking; needs a running loop."""
        self._spawn(self._tick())
        if not self.fleet.emulated:  # on one machine there is no cable to be cut, and load may make a worker slow
            self._spawn(self._ask_around())

    # What clients ask

    async def deploy(self, blueprint: Blueprint) -> dict[str, Any]:
        """Bring a deployment up, or change a running one; its status once it serves.

        DeploymentFailed with the cause.
        """
        name = blueprint.spec.name
        before = self._blueprints.get(name)
        self._blueprints[name] = blueprint
        for node in self._control.status()["lost_nodes"]:
            if node in self.fleet.members():  # it was brought up again for this deployment
                self._handle(NodeJoined(node=node))
        links = tuple(_guess(link) for link in blueprint.spec.topology.links)
        if self.fleet.emulated:
            self._now_emulated(links)
        try:
            await self._ask(name, DeployRequested(deployment=name, spec=blueprint.digest, links=links))
        except DeploymentFailed:
            self._blueprints.pop(name)  # what runs, if anything, is what it was
            self._blueprints |= {} if before is None else {name: before}
            raise
        status: dict[str, Any] = self.status()["deployments"][name]
        return status

    def _now_emulated(self, links: tuple[LinkEstimate, ...]) -> None:
        """Links that were measured at other rates than those they now emulate are as if measured at these."""
        measured = {(link["from"], link["to"]): link["bytes_per_s"] for link in self._control.status()["links"]}
        for link in links:
            if measured.get((link.source, link.target), link.bytes_per_s) != link.bytes_per_s:
                self._handle(
                    LinkObserved(
                        source=link.source,
                        target=link.target,
                        bytes_per_s=link.bytes_per_s,
                        propagation_s=link.propagation_s,
                        samples=0,
                    )
                )

    async def delete(self, name: str) -> None:
        """Drain a deployment and unload it everywhere. UnknownDeployment for a name not here."""
        await self._ask(name, DeleteRequested(deployment=name))
        self._blueprints.pop(name, None)
        self._routers.forget(name)

    def status(self) -> dict[str, Any]:
        """Deployments with their plans, workers, routers and links, as plain values."""
        told = self._control.status()
        for name, facts in told["deployments"].items():
            plan = self._plans.get((name, facts["epoch"]))
            facts["plan"] = None if plan is None else plan_to_json(plan)
        told["routers"] = self._routers.names()
        told["history"] = list(self._history)
        return told

    def plan(self, name: str) -> Plan:
        """The plan that a deployment runs. UnknownDeployment if it runs none."""
        epoch = self._control.status()["deployments"].get(name, {}).get("epoch")
        if (name, epoch) not in self._plans:
            raise UnknownDeployment(name, tuple(self._blueprints))
        return self._plans[name, epoch]

    async def shape(self, links: tuple[Link, ...]) -> None:
        """Change emulated links, for one-machine deployments: what a failing network does elsewhere."""
        await self.fleet.shape(links)
        self._renew_routes()

    def _renew_routes(self) -> None:
        """Tell every router what has changed about the epoch it sends to."""
        for name in self._blueprints:
            if (routes := self._current_routes(name)) is not None:
                for router in self._routers.of(name):
                    self._routers.tell(router, Renew(routes=routes))

    # What routers ask and tell

    def join(self, router: str, deployment: str) -> None:
        """A router wants a deployment's routes; they come with its next poll. UnknownDeployment if there is none."""
        if deployment not in self._blueprints:
            raise UnknownDeployment(deployment, tuple(self._blueprints))
        self._routers.join(router, deployment, time.time())
        self._handle(RouterJoined(deployment=deployment, router=router))

    async def poll(self, router: str) -> list[Command]:
        """What a router is to do next; waits a while for it."""
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

    def observe(self, source: str, target: str, bytes_per_s: float | None, rtt_s: float | None, samples: int) -> None:
        """A link was measured; a figure that is not known yet is left as it is believed."""
        if bytes_per_s is None or rtt_s is None:
            return
        self._handle(
            LinkObserved(
                source=source, target=target, bytes_per_s=bytes_per_s, propagation_s=rtt_s / 2, samples=samples
            )
        )

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
                self.observe(
                    event["source"], event["target"], event["goodput_bytes_per_s"], event["rtt_s"], event["samples"]
                )
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
                self._lose(node, event["message"])

    def _lose(self, node: str, why: str) -> None:
        self._note("lost", "", None, f"node {node}: {why}")
        self.fleet.lose(node)
        self._handle(NodeLost(node=node))
        self._spawn(self._bring_back(node))

    async def close(self) -> None:
        """Stop ticking and close the journal; workers go on."""
        for task in list(self._tasks):
            task.cancel()
        self._journal.close()

    # The pump

    def _handle(self, event: Event) -> None:
        now_s = time.time()
        instructions = self._control.handle(event, now_s)
        if instructions or not isinstance(event, Tick):
            self._told = self._journal.append(event, instructions, now_s)
            if self._told % SNAPSHOT_EVERY == 0:
                self._journal.snapshot(self._control, now_s)
        for instruction in instructions:
            self._carry_out(instruction)
        self._settle()

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case FindPlan():
                self._spawn(self._find(instruction), instruction.deployment)
            case OpenEpoch(deployment=name, epoch=epoch, plan=plan):
                self._plans[name, epoch] = plan
                self._bases[name, epoch] = self._blueprints[name]
                self._builds[name, epoch] = asyncio.create_task(self._build(name, epoch, plan))
                self._note("open", name, epoch, instruction.reason)
            case LoadStage():
                self._spawn(self._load(instruction), instruction.deployment)
            case DropStage():
                self._spawn(self._drop(instruction), instruction.deployment)
            case SwitchRouters() | DrainEpoch():
                self._tell_routers(instruction)
            case _:
                self._tell_askers(instruction)

    def _tell_routers(self, instruction: SwitchRouters | DrainEpoch) -> None:
        match instruction:
            case SwitchRouters(deployment=name, epoch=epoch, routers=routers, reason=reason):
                self._note("switch", name, epoch, reason)
                for router in routers:
                    self._routers.tell(router, Switch(routes=self._routes(name, epoch)))
            case DrainEpoch(deployment=name, epoch=epoch, routers=routers):
                for router in routers:
                    self._routers.tell(router, Drain(deployment=name, epoch=epoch))

    def _tell_askers(self, instruction: Instruction) -> None:
        match instruction:
            case KeepEpoch(deployment=name, reason=reason):
                self._note("keep", name, None, reason)
            case Refuse(deployment=name, error=error) | Fail(deployment=name, error=error):
                self._note("fail", name, None, error)
                self._answer(name, DeploymentFailed(f"{name}: {error}"))
            case Deleted(deployment=name):
                self._answer(name, None)

    async def _ask(self, name: str, event: Event) -> None:
        """Hand in a wish and wait until it is granted or refused."""
        if name in self._waiting:
            raise DeploymentFailed(f"{name}: another change of it is under way; wait for it")
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
            if name in self._waiting and facts["state"] == "running" and not facts["renewal"]:
                self._answer(name, None)

    async def _find(self, wanted: FindPlan) -> None:
        blueprint = self._blueprints.get(wanted.deployment)
        if blueprint is None:
            return  # deleted since it was asked
        try:
            found = await asyncio.to_thread(blueprint.find, wanted.links, wanted.excluded)
        except (OrchestratorError, PartitionerError) as error:
            self._handle(PlanNotFound(deployment=wanted.deployment, ticket=wanted.ticket, reason=str(error)))
            return
        if isinstance(found, Infeasible):
            reason = f"no plan fits: {found.constraint}: {found.detail}"
            self._handle(PlanNotFound(deployment=wanted.deployment, ticket=wanted.ticket, reason=reason))
            return
        current = await asyncio.to_thread(self._current, blueprint, wanted)
        self._handle(PlanFound(deployment=wanted.deployment, ticket=wanted.ticket, plan=found, current=current))

    def _current(self, blueprint: Blueprint, wanted: FindPlan) -> float | None:
        facts = self._control.status()["deployments"].get(wanted.deployment, {})
        plan = self._plans.get((wanted.deployment, facts.get("epoch")))
        if plan is None or any(stage.node in wanted.excluded for stage in plan.stages):
            return None
        try:
            return blueprint.price(plan, wanted.links)
        except InvalidProblem:
            return None  # the spec or the model has changed since

    async def _build(self, name: str, epoch: int, plan: Plan) -> dict[str, Built]:
        blueprint = self._bases[name, epoch]
        reaches = {node: member.found.reach for node, member in self.fleet.members().items()}
        return await asyncio.to_thread(
            build,
            plan,
            blueprint.model,
            self.store,
            deployment=name,
            epoch=epoch,
            topology=blueprint.tuned_topology,
            reaches=reaches,
        )

    async def _load(self, wanted: LoadStage) -> None:
        name, epoch, stage, node = wanted.deployment, wanted.epoch, wanted.stage, wanted.node
        async with self._loading.setdefault((name, epoch, stage), asyncio.Lock()):
            try:
                built = (await self._builds[name, epoch])[stage]
                await self.fleet.give(node, built.folder, built.spec.artifact)
                loaded = await self.fleet.call(node, "load_stage", built.spec)
            except (NodesError, OrchestratorError, PartitionerError, OSError) as error:
                event: Event = StageFailed(deployment=name, epoch=epoch, stage=stage, node=node, error=str(error))
            else:
                event = StageReady(deployment=name, epoch=epoch, stage=stage, node=node, load_s=loaded.seconds)
        self._handle(event)

    async def _drop(self, wanted: DropStage) -> None:
        name, epoch, stage, node = wanted.deployment, wanted.epoch, wanted.stage, wanted.node
        async with self._loading.setdefault((name, epoch, stage), asyncio.Lock()):
            try:
                await self.fleet.call(node, "drop_stage", name, epoch, stage)
            except (NodesError, OrchestratorError) as error:  # a worker that is gone holds no stage either
                self._note("drop", name, epoch, str(error))
        self._loading.pop((name, epoch, stage), None)
        self._handle(StageStopped(deployment=name, epoch=epoch, stage=stage, node=node))

    async def _ask_around(self) -> None:
        """Ask every worker for its health, again and again; one that is silent twice running is lost."""
        before: dict[str, str] = {}
        while True:
            await asyncio.sleep(TICK_S)
            silent = await self.fleet.silent()
            for node in [node for node in silent if node in before]:
                self._lose(node, silent.pop(node))
            before = silent

    async def _bring_back(self, node: str) -> None:
        """Have a lost node's worker again, trying for as long as a deployment names the node."""
        if node in self._returning:
            return
        self._returning.add(node)
        said = ""
        try:
            while (found := self._topology_node(node)) is not None:
                try:
                    await self.fleet.rejoin(found)
                except (NodesError, OrchestratorError) as error:
                    if str(error) != said:
                        said = str(error)
                        self._note("lost", "", None, said)
                    await asyncio.sleep(TICK_S)
                else:
                    self._handle(NodeJoined(node=node))
                    self._renew_routes()  # its worker may have another address than the one that is watched
                    return
        finally:
            self._returning.discard(node)

    def _topology_node(self, name: str) -> Node | None:
        topologies = [blueprint.spec.topology for blueprint in self._blueprints.values()]
        return next((topology.node(name) for topology in topologies if name in topology.by_name), None)

    def _current_routes(self, name: str) -> EpochRoutes | None:
        """Of the epoch that a deployment runs; None if there is none, or it has lost a stage."""
        facts = self._control.status()["deployments"].get(name, {})
        epoch = facts.get("epoch")
        return self._routes(name, epoch) if (name, epoch) in self._plans and not facts["lost_stage"] else None

    def _routes(self, name: str, epoch: int) -> EpochRoutes:
        blueprint, plan = self._bases[name, epoch], self._plans[name, epoch]
        inputs, codecs = model_inputs(plan, blueprint.model)
        shaped, paths = self.fleet.emulation()
        members = self.fleet.members()
        source = blueprint.spec.source
        used = {stage.node for stage in plan.stages}
        return EpochRoutes(
            deployment=name,
            epoch=epoch,
            source=source,
            stages=tuple((stage.name, members[stage.node].found.reach) for stage in plan.stages),
            inputs=inputs,
            codecs=codecs,
            outputs=blueprint.model.graph.outputs,
            watched=tuple(
                members[link.target].found.reach
                for link in _from(blueprint.spec.topology, source)
                if link.target not in used and link.target in members
            ),
            shaped=shaped,
            paths=paths,
        )

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


def _guess(link: Link) -> LinkEstimate:
    return LinkEstimate(
        source=link.source, target=link.target, bytes_per_s=link.bytes_per_s, propagation_s=link.propagation_s
    )


def _from(topology: Topology, source: str) -> list[Link]:
    return [link for link in topology.links if link.source == source]
