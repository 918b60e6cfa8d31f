"""What a router tells of deployments and links: the plan in use, switches, where time went; and what it forgets."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from nodes.framing import HopTiming
from orchestrator.errors import RequestTimeout
from orchestrator.plan_json import plan_id
from orchestrator.routed import Routed
from orchestrator.router import Router
from orchestrator.router_figures import RouterFigures
from orchestrator.routes import EpochRoutes, Reach
from orchestrator.trace_ids import TRACE
from tests.builders import plan_on
from tests.eventually import eventually_here
from tests.orchestrator.small_site import WIDE
from tests.orchestrator.worker_site import WorkerSite

HOPS = (HopTiming("s1", 0.001, 0.002, 0.003, 0.004, "0"), HopTiming("s2", 0.0, 0.0, 0.02, 0.0, "0"))


def routes(epoch: int) -> EpochRoutes:
    stages = (("s1", Reach(node="edge", address="edge:1")),)
    about = {"inputs": (), "codecs": {}, "outputs": ("y",), "version": 2, "plan": f"plan{epoch}"}
    return EpochRoutes(deployment="d", epoch=epoch, source="camera", stages=stages, **about)  # type: ignore[arg-type]


class Known:
    """Figures of a router that knows deployment d."""

    def __init__(self) -> None:
        self.deployments: dict[str, Routed] = {}
        self.figures = RouterFigures(self.deployments)
        self.registry = CollectorRegistry()
        self.registry.register(self.figures)

    def switch(self, epoch: int) -> None:
        held = self.deployments.setdefault("d", Routed())
        if held.current is not None:
            self.figures.note_switch("d")
        held.epochs[epoch], held.current = routes(epoch), epoch

    def drain(self, epoch: int) -> None:
        del self.deployments["d"].epochs[epoch]
        self.figures.forget("d", epoch)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"isthmus_{name}", {"deployment": "d"} | labels)

    def lines(self) -> int:
        return len(generate_latest(self.registry).splitlines())


def test_the_plan_in_use_is_told_by_its_id() -> None:
    known = Known()
    known.switch(1)
    known.switch(2)
    assert known.value("current_epoch") == 2
    assert known.value("plan_info", epoch="2", plan="plan2", version="2") == 1
    assert known.value("plan_info", epoch="1", plan="plan1", version="2") is None
    assert known.value("router_switches_total") == 1


def test_hops_are_told_by_stage_and_part_and_what_is_left_is_transfer() -> None:
    known = Known()
    known.switch(1)
    for _ in range(3):
        known.figures.note_hops("d", 1, 0.05, HOPS)
    known.figures.fold()
    about = {"epoch": "1", "stage": "s1"}
    assert known.value("router_stage_seconds_sum", **about, part="compute") == pytest.approx(0.009)
    assert known.value("router_stage_seconds_count", **about, part="queue") == 3
    assert known.value("router_transfer_seconds_sum", epoch="1") == pytest.approx(3 * 0.02)


def test_nothing_grows_over_a_hundred_switches() -> None:
    known = Known()
    known.switch(0)
    known.figures.note_hops("d", 0, 0.05, HOPS)
    known.figures.fold()
    lines = known.lines()
    for epoch in range(1, 101):
        known.switch(epoch)
        known.figures.note_hops("d", epoch, 0.05, HOPS)
        known.figures.note_hops("d", epoch - 1, 0.05, HOPS)
        known.drain(epoch - 1)
    known.figures.fold()
    assert known.lines() == lines
    assert known.value("router_switches_total") == 100


def test_of_a_deployment_that_is_gone_nothing_is_told() -> None:
    known = Known()
    lines = known.lines()
    known.switch(1)
    known.switch(2)
    known.drain(1)
    known.drain(2)
    assert known.lines() == lines
    known.switch(3)
    assert known.value("router_switches_total") == 1  # from draining to a new epoch


def test_a_plan_s_id_is_that_of_what_it_does() -> None:
    plan = plan_on("camera", "cloud")
    dearer = replace(plan, predicted=replace(plan.predicted, latency_s=9.0))
    assert plan_id(plan) == plan_id(dearer) != plan_id(plan_on("camera", "camera"))
    assert len(plan_id(plan)) == 12


@pytest.mark.slow
def test_a_router_tells_of_its_links_and_its_answers(workers: WorkerSite, router: Router, tmp_path: Path) -> None:
    registry = router.metrics.registry

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"isthmus_{name}", labels) or 0.0

    async def story() -> None:
        held = await workers.load("told", 1)
        await router.switch(held)
        feeds = {"x": np.zeros((1, WIDE), np.float32)}
        answer = await router.infer("told", feeds, trace=True)
        await router.probe(1 << 14)  # answers alone say nothing of a way that no input goes
        link = {"source": "camera", "target": "cloud"}
        await eventually_here(lambda: value("link_rtt_seconds", **link), what="the round trip")
        about = {"deployment": "told", "epoch": "1"}
        first = answer.hops[0].stage
        assert value("router_stage_seconds_count", **about, stage=first, part="compute") == 1
        assert 0 < value("router_transfer_seconds_sum", **about) < answer.latency_s
        assert value("plan_info", **about, plan=held.plan, version="0") == 1

    workers.do(story())


@pytest.mark.slow
def test_a_stage_that_fails_logs_the_request_and_its_trace(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("late", 1))
        TRACE.set("4bf9")
        with pytest.raises(RequestTimeout):
            await router.infer("late", {"x": np.zeros((1, WIDE), np.float32)}, budget_s=1e-9)
        logged: list[dict[str, object]] = []
        async with asyncio.timeout(20):
            while not logged:
                every = await workers.fleet.call("camera", "logs", deployment="late")
                logged = [line for line in every if line.get("kind") == "BudgetExpired"]
        assert logged[0]["trace"] == "4bf9" and str(logged[0]["request"]) in str(logged[0]["message"])

    workers.do(story())
