"""A cluster that does at once, or when asked to, what the control core instructs; it checks nothing by itself."""

from collections import deque

from orchestrator.control import Control
from orchestrator.events import (
    EpochDrained,
    Event,
    NodeRoom,
    PlanFound,
    RouterJoined,
    RouterSwitched,
    StageReady,
    StageStopped,
)
from orchestrator.instructions import DrainEpoch, DropStage, FindPlan, Instruction, LoadStage, SwitchRouters
from partitioner.plan import Plan
from tests.builders import deploy_requested

Kinds = list[str]


class Cluster:
    """Nodes and routers without faults, under a clock set by hand. `answers` are those still on their way."""

    def __init__(self, plan: Plan, control: Control | None = None) -> None:
        self.control = control or Control()
        self.plan = plan
        self.current: float | None = None
        self.now_s = 0.0
        self.given: list[Instruction] = []
        self.answers: deque[Event] = deque()

    def tell(self, event: Event) -> tuple[Instruction, ...]:
        """One event; what it leads to is noted, and answers to it are put on their way."""
        given = self.control.handle(event, self.now_s)
        self.given += given
        for instruction in given:
            self.answers.extend(self._answer(instruction))
        return given

    def settle(self) -> None:
        """Deliver answers, in order, until none is on its way."""
        while self.answers:
            self.tell(self.answers.popleft())

    def kinds(self) -> Kinds:
        """Names of the instructions given since last asked, in order."""
        names = [type(instruction).__name__ for instruction in self.given]
        self.given = []
        return names

    def status(self, name: str = "classify") -> dict[str, object]:
        """One deployment's status."""
        found: dict[str, object] = self.control.status()["deployments"][name]
        return found

    def _answer(self, given: Instruction) -> list[Event]:
        name = given.deployment
        match given:
            case FindPlan():
                return [PlanFound(deployment=name, ticket=given.ticket, plan=self.plan, current=self.current)]
            case LoadStage():
                return [StageReady(deployment=name, epoch=given.epoch, stage=given.stage, node=given.node, load_s=0.5)]
            case DropStage():
                return [StageStopped(deployment=name, epoch=given.epoch, stage=given.stage, node=given.node)]
            case SwitchRouters():
                return [RouterSwitched(deployment=name, router=router, epoch=given.epoch) for router in given.routers]
            case DrainEpoch():
                return [EpochDrained(deployment=name, router=router, epoch=given.epoch) for router in given.routers]
        return []


def running(
    plan: Plan,
    *,
    routers: tuple[str, ...] = ("r1",),
    control: Control | None = None,
    room: tuple[NodeRoom, ...] = (),
) -> Cluster:
    """A cluster on which "classify" runs by this plan, with these routers switched to it, 100 s ago."""
    cluster = Cluster(plan, control)
    cluster.tell(deploy_requested(room=room))
    for router in routers:
        cluster.tell(RouterJoined(deployment="classify", router=router))
    cluster.settle()
    cluster.now_s += 100.0
    cluster.kinds()
    return cluster
