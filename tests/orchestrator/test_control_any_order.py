"""Whatever order answers and faults come in: one epoch in use, none dropped under a router, nothing leaked."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.control import Control
from orchestrator.events import (
    DeleteRequested,
    EpochDrained,
    Event,
    NodeJoined,
    NodeLost,
    NodeRoom,
    PlanFound,
    PlanNotFound,
    PlansMapped,
    PromoteRequested,
    RollbackRequested,
    RouterJoined,
    RouterLeft,
    RouterSwitched,
    StageFailed,
    StageLoad,
    StageReady,
    StageStopped,
    Tick,
    TrialObserved,
    WorkerReplaced,
)
from orchestrator.instructions import (
    Deleted,
    DrainEpoch,
    DropStage,
    Fail,
    FindPlan,
    Instruction,
    LoadStage,
    OpenEpoch,
    SplitTraffic,
    StandBy,
    SwitchRouters,
)
from orchestrator.replicas import manned
from orchestrator.rollout_terms import RolloutTerms
from tests.builders import deploy_requested, known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.trials import counted, rollout_requested

NODES = ("camera", "mec", "cloud")
NAME = "classify"
SHARERS = {"mec": (("onnxruntime", "cloud"),), "cloud": (("onnxruntime", "mec"),)}
ROOM = tuple(  # a stage weighs 100
    NodeRoom(node=node, standby_bytes=300, most_replicas=2, sharers=SHARERS.get(node, ())) for node in NODES
)
PLACES = st.lists(st.sampled_from(NODES), min_size=1, max_size=3, unique=True)


class AnyOrder(RuleBasedStateMachine):
    """Nodes that load and drop, routers that switch and drain, in any order but each router's own."""

    @initialize()
    def start(self) -> None:
        self.control, self.now_s = Control(), 0.0
        self.record: list[tuple[Event, tuple[Instruction, ...], float]] = []
        self.question: FindPlan | None = None
        self.trial_question: FindPlan | None = None
        self.orders: list[LoadStage | DropStage] = []  # on their way to the nodes
        self.loaded: list[tuple[int, str, str]] = []  # epoch, stage, node
        self.lost: list[str] = []
        self.inbox: dict[str, list[SwitchRouters | StandBy | SplitTraffic | DrainEpoch]] = {}  # each router's, in order
        self.told: list[tuple[str, int]] = []  # routers and the epochs that they were told to use
        self.knows: dict[str, list[int]] = {}  # epochs that it may send to by itself
        self.uses: dict[str, int | None] = {}
        self.last_epoch = self.ticket = 0
        self.lives = False

    def tell(self, event: Event) -> None:
        given = self.control.handle(event, self.now_s)
        self.record.append((event, given, self.now_s))
        for instruction in given:
            self.carry_out(instruction)

    def carry_out(self, given: Instruction) -> None:
        match given:
            case FindPlan():
                self.hear(given)
            case OpenEpoch():
                assert given.epoch > self.last_epoch, "an epoch's number was used twice"
                self.last_epoch = given.epoch
            case LoadStage():
                assert given.node not in self.lost
                self.orders.append(given)
            case DropStage():
                used = [*self.uses.values(), *(epoch for known in self.knows.values() for epoch in known)]
                assert given.epoch not in used, "a stage was dropped under a router"
                ahead = [each for box in self.inbox.values() for each in box if not isinstance(each, DrainEpoch)]
                assert given.epoch not in [each.epoch for each in ahead], "a router is on its way to a dropped epoch"
                self.orders.append(given)
            case SwitchRouters() | StandBy() | SplitTraffic():
                here = [(e, s) for e, s, _ in self.loaded if e == given.epoch]
                told_again = all((router, given.epoch) in self.told for router in given.routers)
                assert here or self.lost or told_again, "routers were switched to what is not loaded"
                self.told += [(router, given.epoch) for router in given.routers]
            case Deleted():
                assert not self.loaded and not any(isinstance(order, LoadStage) for order in self.orders)
                self.lives = False
            case Fail():
                self.lives = False
        if isinstance(given, SwitchRouters | StandBy | SplitTraffic | DrainEpoch):
            for router in given.routers:
                self.inbox[router].append(given)

    def hear(self, asked: FindPlan) -> None:
        assert asked.excluded == tuple(self.lost)
        if asked.version:
            self.trial_question = asked
        else:
            self.question, self.ticket = asked, asked.ticket

    @precondition(lambda self: not self.lives)
    @rule()
    def deploy(self) -> None:
        self.lives = True
        self.tell(deploy_requested(NAME, room=ROOM))

    @precondition(lambda self: self.lives)
    @rule()
    def delete(self) -> None:
        self.tell(DeleteRequested(deployment=NAME))

    @precondition(lambda self: self.question is not None and self.lives)
    @rule(
        places=PLACES, best_s=st.floats(0.01, 0.1), current=st.none() | st.floats(0.01, 0.2), none=st.integers(0, 4),
        shared=st.booleans(),
    )  # fmt: skip
    def answer(self, places: list[str], best_s: float, current: float | None, none: int, shared: bool) -> None:
        question, self.question = self.question, None
        assert question is not None
        usable = [place for place in places if place not in question.excluded]
        if usable and none:
            plan = plan_on(*usable, latency_s=best_s)
            others = [node for node in NODES if shared and node not in (*usable, *question.excluded)]
            plan = manned(plan, {plan.stages[-1].name: (plan.stages[-1].node, *others)})
            self.tell(PlanFound(deployment=NAME, ticket=question.ticket, plan=plan, current=current))
        else:
            self.tell(PlanNotFound(deployment=NAME, ticket=question.ticket, reason="nothing fits"))

    @precondition(lambda self: self.state() == "running" and self.trial_epoch() is None)
    @rule(steps=st.sampled_from(((0.1,), (0.1, 0.5))))
    def roll_out(self, steps: tuple[float, ...]) -> None:
        terms = RolloutTerms(weights=steps, min_requests=10, min_s=1.0, max_drift=None)
        self.tell(rollout_requested(terms=terms, room=ROOM))

    @precondition(lambda self: self.trial_question is not None and self.lives)
    @rule(places=PLACES)
    def answer_for_trial(self, places: list[str]) -> None:
        question, self.trial_question = self.trial_question, None
        assert question is not None
        self.say(question, *places)

    def say(self, question: FindPlan, *places: str) -> None:
        usable = [place for place in places if place not in question.excluded]
        if usable:
            self.tell(PlanFound(deployment=NAME, ticket=question.ticket, plan=plan_on(*usable)))
        else:
            self.tell(PlanNotFound(deployment=NAME, ticket=question.ticket, reason="nothing fits"))

    @precondition(lambda self: self.trial_epoch() is not None)
    @rule(failed=st.sampled_from((0, 0, 40)), late=st.integers(0, 1))
    def count(self, failed: int, late: int) -> None:
        trial = self.control.deployments()[NAME].trial
        epoch = self.trial_epoch()
        assert trial is not None and epoch is not None
        self.tell(
            TrialObserved(
                deployment=NAME,
                router="r1",
                epoch=epoch,
                step=trial.step - late,
                old=counted(90),
                new=counted(20, failed),
            )
        )

    @precondition(lambda self: self.state() == "running" and len(self.control.deployments()[NAME].versions) > 1)
    @rule(version=st.none() | st.integers(1, 3))
    def roll_back(self, version: int | None) -> None:
        self.tell(RollbackRequested(deployment=NAME, version=version))

    @precondition(lambda self: self.trial_epoch() is not None)
    @rule()
    def promote(self) -> None:
        self.tell(PromoteRequested(deployment=NAME))

    @precondition(lambda self: self.lives)
    @rule()
    def all_goes_well(self) -> None:
        while self.orders or any(self.inbox.values()) or (self.question and self.lives) or self.trial_question:
            if self.question is not None and self.lives:
                question, self.question = self.question, None
                self.say(question, "camera")
            elif self.trial_question is not None:
                question, self.trial_question = self.trial_question, None
                self.say(question, "mec")
            elif self.orders:
                self.carry_out_order(self.orders.pop(0), fails=False)
            else:
                self.follow(next(router for router, box in self.inbox.items() if box))

    def state(self) -> str:
        deployment = self.control.deployments().get(NAME)
        return "" if deployment is None else deployment.story.state

    def trial_epoch(self) -> int | None:
        deployment = self.control.deployments().get(NAME)
        return None if deployment is None or deployment.trial is None else deployment.trial.epoch

    @precondition(lambda self: self.ticket and self.lives)
    @rule(ways=st.lists(PLACES, min_size=1, max_size=4, unique_by=tuple), data=st.data())
    def map_plans(self, ways: list[list[str]], data: st.DataObject) -> None:
        plans = []
        for nodes in ways:
            fixed_s, nbytes = data.draw(st.floats(0.01, 0.2)), data.draw(st.integers(0, 10**6))
            plans.append(known_plan(plan_on(*nodes), fixed_s=fixed_s, nbytes=nbytes))
        self.tell(PlansMapped(deployment=NAME, ticket=self.ticket, plan_map=plan_map_of(*plans, low_mbps=50.0)))

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), fails=st.integers(0, 5).map(lambda draw: draw == 0))
    def obey(self, data: st.DataObject, fails: bool) -> None:
        self.carry_out_order(self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1))), fails=fails)

    def carry_out_order(self, order: LoadStage | DropStage, *, fails: bool) -> None:
        what: dict[str, Any] = {
            "deployment": NAME, "epoch": order.epoch, "stage": order.stage, "node": order.node,
        }  # fmt: skip
        stage = (order.epoch, order.stage, order.node)
        if isinstance(order, LoadStage) and fails:
            self.tell(StageFailed(**what, error="out of memory"))
        elif isinstance(order, LoadStage):
            self.loaded.append(stage)
            self.tell(StageReady(**what))
        else:
            self.orders = [each for each in self.orders if (each.epoch, each.stage, each.node) != stage]
            self.loaded = [each for each in self.loaded if each != stage]
            self.tell(StageStopped(**what))

    @precondition(lambda self: any(self.inbox.values()))
    @rule(data=st.data())
    def route(self, data: st.DataObject) -> None:
        self.follow(data.draw(st.sampled_from([name for name, box in self.inbox.items() if box])))

    def follow(self, router: str) -> None:
        order = self.inbox[router].pop(0)
        if isinstance(order, SwitchRouters):
            self.uses[router] = order.epoch
            self.tell(RouterSwitched(deployment=NAME, router=router, epoch=order.epoch))
        elif isinstance(order, StandBy | SplitTraffic):
            self.knows.setdefault(router, []).append(order.epoch)
        else:
            self.knows[router] = [epoch for epoch in self.knows.get(router, []) if epoch != order.epoch]
            self.uses[router] = None if self.uses[router] == order.epoch else self.uses[router]
            self.tell(EpochDrained(deployment=NAME, router=router, epoch=order.epoch))

    @precondition(lambda self: self.lives)
    @rule(router=st.sampled_from(("r1", "r2")))
    def join(self, router: str) -> None:
        self.inbox.setdefault(router, [])
        self.uses.setdefault(router, None)
        if NAME in self.control.status()["deployments"]:
            self.tell(RouterJoined(deployment=NAME, router=router))

    @precondition(lambda self: self.inbox)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        router = data.draw(st.sampled_from(list(self.inbox)))
        del self.inbox[router], self.uses[router]
        self.knows.pop(router, None)
        self.tell(RouterLeft(deployment=NAME, router=router))

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        if node not in self.lost:
            self.lost.append(node)
            self.orders = [order for order in self.orders if order.node != node]
            self.loaded = [stage for stage in self.loaded if stage[2] != node]
            self.tell(NodeLost(node=node))

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.lost))
        self.lost.remove(node)
        self.tell(NodeJoined(node=node))

    @rule(node=st.sampled_from(NODES))
    def replace_worker(self, node: str) -> None:
        deployment = self.control.deployments().get(NAME)
        epochs = [] if deployment is None else deployment.epochs
        spare = [one.number for one in epochs if one.standby and one.story.state in ("loading", "standby")]
        self.orders = [order for order in self.orders if not (order.node == node and order.epoch in spare)]
        self.loaded = [stage for stage in self.loaded if not (stage[2] == node and stage[0] in spare)]
        if node not in self.lost:
            self.tell(WorkerReplaced(node=node, deployments=(NAME,)))

    @precondition(lambda self: self.loaded and self.lives)
    @rule(data=st.data(), busy=st.sampled_from((0.0, 0.5, 1.0)), queued=st.sampled_from((0, 100)))
    def work(self, data: st.DataObject, busy: float, queued: int) -> None:
        epoch, stage, node = data.draw(st.sampled_from(self.loaded))
        served = round(busy * 10)
        self.tell(
            StageLoad(
                deployment=NAME, epoch=epoch, stage=stage, node=node, interval_s=1.0, busy_s=busy, served=served,
                arrived=served, queued=queued,
            )
        )  # fmt: skip

    @rule(mbps=st.sampled_from((10.0, 100.0, 400.0)))
    def observe(self, mbps: float) -> None:
        self.tell(uplink(mbps))

    @rule(passed_s=st.floats(0.0, 10.0))
    def tick(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.tell(Tick())

    @invariant()
    def at_most_one_epoch_is_in_use(self) -> None:
        if hasattr(self, "control"):
            for deployment in self.control.status()["deployments"].values():
                epochs = [epoch for epoch in deployment["epochs"] if epoch["epoch"] != self.trial_epoch()]
                states = [epoch["state"] for epoch in epochs if not epoch["standby"]]
                assert "trial" not in states
                assert states.count("active") <= 1 and states.count("loading") + states.count("switching") <= 1
                assert [e["state"] for e in deployment["epochs"] if e["standby"]].count("loading") <= 1
                assert (deployment["epoch"] is not None) == ("active" in states)

    def teardown(self) -> None:
        if not hasattr(self, "control"):
            return
        self.fold_agrees()
        for router in list(self.inbox):
            self.leave_now(router)
        if self.lives:
            self.tell(DeleteRequested(deployment=NAME))
        while self.orders:
            order = self.orders.pop(0)
            what: dict[str, Any] = {"deployment": NAME, "epoch": order.epoch, "stage": order.stage, "node": order.node}
            stopped = isinstance(order, DropStage)
            self.loaded = [s for s in self.loaded if not (stopped and s == (order.epoch, order.stage, order.node))]
            self.tell(StageStopped(**what) if stopped else StageFailed(**what, error="stopped"))
        assert self.loaded == [], "something stays loaded that nobody will drop"
        assert [d["epochs"] for d in self.control.status()["deployments"].values()] in ([], [[]])

    def leave_now(self, router: str) -> None:
        del self.inbox[router], self.uses[router]
        self.knows.pop(router, None)
        self.tell(RouterLeft(deployment=NAME, router=router))

    def fold_agrees(self) -> None:
        folded = Control()
        for event, given, now_s in self.record:
            folded.fold(event, given, now_s)
        assert folded.snapshot() == self.control.snapshot()
        assert Control().restored(folded.snapshot()).snapshot() == folded.snapshot()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
