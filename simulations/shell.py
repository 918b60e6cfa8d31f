"""The controller's shell under simulated time: it carries out what the live control core decides for one deployment.

As live, searching, loading and telling routers take time; how long is set here, by what was measured of live ones, so
that a simulation hangs on no clock of the machine it runs on. Solvers are the live ones (planning.py). Whoever routes
the requests is told through `Gateway`.
"""

from collections.abc import Callable
from math import inf
from typing import Protocol

from orchestrator.blueprint import Blueprint
from orchestrator.control import Control
from orchestrator.detour import Pace
from orchestrator.events import (
    DeployRequested,
    EpochDrained,
    Event,
    LinkObserved,
    NodeJoined,
    NodeLost,
    PlansMapped,
    RouterJoined,
    RouterSwitched,
    StageLoad,
    StageReady,
    StageStopped,
    Tick,
)
from orchestrator.instructions import (
    DrainEpoch,
    DropStage,
    Fail,
    FindPlan,
    Instruction,
    KeepEpoch,
    LoadStage,
    OpenEpoch,
    Promote,
    Refuse,
    StandBy,
    SwitchRouters,
)
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import PlanMap
from orchestrator.wishes import guessed_links, room_of
from partitioner.plan import Plan
from simulations.engine import Engine
from simulations.errors import SimulationsError
from simulations.machines import Load
from simulations.planning import LinksAt, Planner
from simulations.results import Note, Notes

ROUTER = "gateway"
SEARCH_S, MAP_S = 0.05, 0.2  # a plan, and a map of plans (benchmarks/atlas.py, benchmarks/planner.py)
LOAD_S, DROP_S = 0.3, 0.01  # a stage whose weights are on the node's disk (benchmarks/recovery.py: cold switches)
TELL_S = 0.005  # from the controller to a router: it holds a long poll


class Gateway(Protocol):
    """Who routes a deployment's requests."""

    def switch(self, epoch: int, plan: Plan, pace: Pace | None, leaves: int | None, gain: tuple[float, float]) -> None:
        """New requests go to this epoch; a request takes `gain` seconds in the one it leaves, and here."""

    def offer(self, epoch: int, plan: Plan, pace: Pace | None) -> None:
        """An epoch stands by."""

    def drain(self, epoch: int, drained: Callable[[], None]) -> None:
        """Nothing new goes there; `drained` is called when nothing is left there."""

    def drop(self, epoch: int) -> None:
        """The epoch is gone from its nodes."""

    def renew(self, epoch: int, pace: Pace | None) -> None:
        """More is known of what a request takes there."""


class Shell:
    """One deployment and its control core."""

    def __init__(
        self,
        engine: Engine,
        control: Control,
        name: str,
        blueprint: Blueprint,
        planner: Planner,
        gateway: Gateway,
        notes: Notes,
        *,
        kind: object = None,
        links_at: LinksAt,
        is_static: bool = False,
    ) -> None:
        """`kind` is the same for deployments that differ in their links alone; `links_at` is what these are now at a
        rate of the radio; `is_static`: the first plan stays.
        """
        self.name, self.control, self.switches = name, control, 0
        self._engine, self._blueprint, self._planner, self._gateway = engine, blueprint, planner, gateway
        self._notes, self._is_static = notes, is_static
        self._plans: dict[int, Plan] = {}
        self._kind, self._links_at = kind, links_at
        self._asked: FindPlan | None = None
        self._map_told: tuple[int, PlanMap | None] = (0, None)

    @property
    def plan(self) -> Plan:
        """What runs. KeyError before anything does."""
        return self._plans[self.control.deployments()[self.name].active or 0]

    def plan_of(self, epoch: int) -> Plan:
        """What an epoch does. KeyError for one that was never opened."""
        return self._plans[epoch]

    def deploy(self) -> None:
        """Ask for the deployment, and let its gateway join."""
        spec = self._blueprint.spec
        links, room = guessed_links(spec), room_of(spec)
        self.handle(DeployRequested(deployment=self.name, spec=spec.name, links=links, room=room))
        self.handle(RouterJoined(deployment=self.name, router=ROUTER))

    def tick(self) -> None:
        """A second or more has passed."""
        if not self._is_static:
            self.handle(Tick())

    def saw(self, link: LinkEstimate, samples: int, std: float) -> None:
        """A link was measured."""
        if not self._is_static:
            self.handle(
                LinkObserved(
                    source=link.source, target=link.target, bytes_per_s=link.bytes_per_s,
                    propagation_s=link.propagation_s, samples=samples, std=std,
                )
            )  # fmt: skip

    def worked(self, epoch: int, stage: str, node: str, load: Load, queued: int, interval_s: float) -> None:
        """What a stage did on a node in the last `interval_s`."""
        told = StageLoad(
            deployment=self.name, epoch=epoch, stage=stage, node=node, interval_s=interval_s, busy_s=load.busy_s,
            served=load.served, arrived=load.arrived, queued=queued,
        )  # fmt: skip
        self.handle(told)

    def lost(self, node: str) -> None:
        """A node cannot be reached."""
        self.handle(NodeLost(node=node))

    def joined(self, node: str) -> None:
        """It can, again; it has nothing loaded."""
        self.handle(NodeJoined(node=node))

    def handle(self, event: Event) -> None:
        """Let the core decide, and carry that out. SimulationsError if it raises."""
        try:
            instructions = self.control.handle(event, self._engine.now_s)
        except SimulationsError as error:  # a rule's own fault, named already
            raise SimulationsError(f"{error} (at {self._engine.now_s:.3f} s, of {self.name})") from error
        except Exception as error:
            what = f"policy: at {self._engine.now_s:.3f} s, on {type(event).__name__} of {self.name}"
            raise SimulationsError(f"{what}: {type(error).__name__}: {error}") from error
        for instruction in instructions:
            self._carry_out(instruction)

    def _carry_out(self, instruction: Instruction) -> None:
        after = self._engine.after
        match instruction:
            case FindPlan():
                after(SEARCH_S, self._find, instruction)
            case OpenEpoch(epoch=epoch, plan=plan):
                self._plans[epoch] = plan
                self._note("prepare" if instruction.standby else "open", epoch, instruction.reason)
            case LoadStage(epoch=epoch, stage=stage, node=node):
                told = StageReady(deployment=self.name, epoch=epoch, stage=stage, node=node, load_s=LOAD_S)
                after(LOAD_S, self.handle, told)
            case DropStage(epoch=epoch, stage=stage, node=node):
                self._gateway.drop(epoch)
                after(DROP_S, self.handle, StageStopped(deployment=self.name, epoch=epoch, stage=stage, node=node))
            case SwitchRouters() | StandBy() | DrainEpoch():
                self._tell_gateway(instruction)
            case KeepEpoch(reason=reason):
                self._note("keep", None, reason)
            case Promote(epoch=epoch, reason=reason):
                self._note("open", epoch, reason)
            case Refuse(error=error) | Fail(error=error):
                self._note("fail", None, error)
                raise SimulationsError(f"{self.name}: {error}")
            case _:
                raise SimulationsError(f"{self.name}: {type(instruction).__name__} has no meaning in a simulation")

    def _tell_gateway(self, instruction: SwitchRouters | StandBy | DrainEpoch) -> None:
        after, epoch = self._engine.after, instruction.epoch
        match instruction:
            case SwitchRouters():
                self._note("switch", epoch, instruction.reason)
                after(TELL_S, self._switch, epoch, self.control.deployments()[self.name].active)
            case StandBy():
                after(TELL_S, self._gateway.offer, epoch, self._plans[epoch], self.control.pace(self.name, epoch))
            case DrainEpoch():
                after(TELL_S, self._gateway.drain, epoch, lambda: self._drained(epoch))

    def _find(self, wanted: FindPlan) -> None:
        running = self._plans.get(self.control.deployments()[self.name].active or 0)
        self.handle(self._planner.find(self._kind, self._blueprint, wanted, running))
        self._asked = wanted
        if not self._is_static:
            self._engine.after(MAP_S, self._map, wanted, wanted.links)

    def vouch(self, links: tuple[LinkEstimate, ...]) -> None:
        """Wires have changed: the map is good for these links, or another one is drawn."""
        if self._asked is not None and not self._is_static:
            self._map(self._asked, links)

    def _map(self, wanted: FindPlan, links: tuple[LinkEstimate, ...]) -> None:
        held = tuple(epoch.plan for epoch in self.control.deployments()[self.name].epochs)
        drawn = self._planner.map(self._kind, self._blueprint, self._links_at, wanted.excluded, links, held)
        if drawn is None or (self._map_told[0] == wanted.ticket and self._map_told[1] is drawn):
            return
        self._map_told = wanted.ticket, drawn
        self.handle(PlansMapped(deployment=self.name, ticket=wanted.ticket, plan_map=drawn))
        for epoch in self._plans:
            self._gateway.renew(epoch, self.control.pace(self.name, epoch))

    def _switch(self, epoch: int, leaves: int | None) -> None:
        old_s, new_s = (self.control.latency_s(self.name, one) for one in (leaves, epoch))
        gain = (0.0, inf) if old_s is None or new_s is None else (old_s, new_s)
        self.switches += leaves is not None
        pace = self.control.pace(self.name, epoch)
        self._gateway.switch(epoch, self._plans[epoch], pace, None if leaves == epoch else leaves, gain)
        self.handle(RouterSwitched(deployment=self.name, router=ROUTER, epoch=epoch))

    def _drained(self, epoch: int) -> None:
        self.handle(EpochDrained(deployment=self.name, router=ROUTER, epoch=epoch))

    def _note(self, what: str, epoch: int | None, why: str) -> None:
        self._notes.add(Note(self._engine.now_s, self.name, what, epoch, why))
