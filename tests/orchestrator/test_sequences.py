"""Sequences through a router and real workers: state that survives what happens to workers, plans and callers."""

import asyncio
import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array
from nodes.errors import BadInput
from orchestrator import sequences
from orchestrator.batching import Batching
from orchestrator.errors import RequestFailed, RequestTimeout, Unavailable
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from orchestrator.terms import Step
from tests.eventually import eventually_here
from tests.orchestrator.sequence_site import answers, blueprint_of, feed
from tests.orchestrator.small_site import site
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
SCALE = np.full((1, 64), 0.5, np.float32)
FEEDS = [feed(number) for number in range(12)]
WANTED = answers(FEEDS, SCALE)


async def loaded(
    workers: WorkerSite, name: str, epoch: int = 1, without: tuple[str, ...] = (), **terms: Any
) -> EpochRoutes:
    return await workers.load(name, epoch, blueprint=blueprint_of(workers.folder, **terms), without=without)


async def step(router: Router, name: str, number: int, sequence: str = "s", **more: Any) -> Array:
    """The y of a step, whose first brings along what is kept."""
    about = {"start": number == 0} | {key: more.pop(key) for key in ("start", "end", "owner") if key in more}
    given = {"x": FEEDS[number]} | ({"scale": SCALE} if about["start"] else {})
    answer = await router.infer(name, given, step=Step(sequence=sequence, **about), **more)
    assert set(answer.outputs) == {"y"}
    return answer.outputs["y"]


def same(made: Array, number: int) -> bool:
    return bool(np.allclose(made, WANTED[number], atol=1e-3))


def rebuilt(router: Router) -> float:
    """How often state was made again."""
    return router.metrics.registry.get_sample_value("isthmus_router_replays_total", {"reason": "sequence"}) or 0.0


async def kill(workers: WorkerSite, node: str) -> None:
    """Kill a node's worker, and have another one."""
    os.kill(workers.fleet.member(node).found.claimed.pid, signal.SIGKILL)
    await workers.fleet.rejoin(site(slowdown=2).node(node))


@pytest.mark.parametrize(("cut", "stages"), [((), 2), (("cloud",), 1)])
def test_steps_continue_where_the_one_before_ended(
    workers: WorkerSite, router: Router, cut: tuple[str, ...], stages: int
) -> None:
    async def story() -> None:
        routes = await loaded(workers, f"steps{stages}", without=cut)
        assert [spec.name for spec in routes.inputs] == ["x"]
        assert (len(routes.stages), routes.outputs) == (stages, ("y",))
        await router.switch(routes)
        for number in range(6):
            assert same(await step(router, f"steps{stages}", number, end=number == 5), number)
        assert (rebuilt(router), len(router.sequences), router.sequences.nbytes) == (0, 0, 0)

    workers.do(story())


def test_sequences_side_by_side_know_nothing_of_each_other(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "beside"))
        names = [("a", ""), ("b", ""), ("a", "somebody else")]
        for number in range(4):
            found = await asyncio.gather(*(step(router, "beside", number, s, owner=owner) for s, owner in names))
            assert all(same(made, number) for made in found)
        assert rebuilt(router) == 0

    workers.do(story())


def test_steps_of_several_sequences_share_runs_and_each_keeps_its_own_state(
    workers: WorkerSite, router: Router
) -> None:
    async def story() -> None:
        batching, blueprint = Batching(most=8, max_delay_s=0.05), blueprint_of(workers.folder)
        routes = await workers.load("shared", 1, batching=batching, blueprint=blueprint)
        assert routes.rows == 8
        await router.switch(routes)
        for number in range(4):
            asked = (step(router, "shared", (number + k) % 12, str(k), start=number == 0) for k in range(8))
            found = await asyncio.gather(*asked)
            assert all(
                np.allclose(made, answers(FEEDS[k : k + number + 1], SCALE)[-1], atol=1e-3)
                for k, made in enumerate(found)
            )
        with pytest.raises(BadInput, match="'0' began with 1 rows; this step has 2"):
            await router.infer("shared", {"x": np.concatenate(FEEDS[:2])}, step=Step(sequence="0"))

    workers.do(story())


def test_steps_given_at_once_are_run_in_their_order(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "ordered"))
        found = await asyncio.gather(*(step(router, "ordered", number) for number in range(8)))
        assert all(same(made, number) for number, made in enumerate(found))

    workers.do(story())


@pytest.mark.parametrize("checkpoint", [1, 3, 64])
def test_a_switch_in_mid_sequence_has_the_state_made_again_there(
    workers: WorkerSite, router: Router, checkpoint: int
) -> None:
    async def story() -> None:
        name = f"switched{checkpoint}"
        await router.switch(await loaded(workers, name, 1, checkpoint=checkpoint))
        for number in range(5):
            assert same(await step(router, name, number), number)
        await router.switch(await loaded(workers, name, 2, without=("cloud",), checkpoint=checkpoint))
        router.drain(name, 1)
        for number in range(5, 8):
            assert same(await step(router, name, number), number)
        assert rebuilt(router) == 1

    workers.do(story())


def test_checkpoints_bound_what_is_repeated_and_what_is_held(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "bounded", checkpoint=3))
        held = []
        for number in range(7):
            await step(router, "bounded", number)
            held.append(router.sequences.nbytes)
        one, state = FEEDS[0].nbytes, (4 + 64) * 4
        assert held == [SCALE.nbytes + most for most in (one, 2 * one, state, *(state + k * one for k in (1, 2, 0, 1)))]

    workers.do(story())


def test_what_a_stage_has_forgotten_for_lack_of_room_is_made_again(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "narrow", most_bytes=1))  # each stage keeps one sequence
        for number in range(3):
            for sequence in ("a", "b"):
                assert same(await step(router, "narrow", number, sequence), number)
        assert rebuilt(router) > 0

    workers.do(story())


def test_a_step_that_was_given_up_is_as_if_it_had_never_been(workers: WorkerSite, router: Router) -> None:
    """Whether its stages got to run it nobody knows: the next one has the state from before it."""

    async def story() -> None:
        await router.switch(await loaded(workers, "given-up"))
        for number in range(3):
            await step(router, "given-up", number)
        for wait in (0, 1, 3, 10):  # turns of the loop: before it is sent, and while it is under way
            wrong = asyncio.create_task(step(router, "given-up", 9))
            for _ in range(wait):
                await asyncio.sleep(0)
            wrong.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wrong
        with pytest.raises(RequestTimeout):
            await step(router, "given-up", 9, budget_s=1e-4)
        for number in range(3, 6):
            assert same(await step(router, "given-up", number), number)

    workers.do(story())


def test_steps_behind_one_that_failed_are_refused(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "behind"))
        await step(router, "behind", 0)
        asked = [asyncio.create_task(step(router, "behind", number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        first, *others = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert all(isinstance(one, Unavailable) and "a step before this one failed" in str(one) for one in others)
        assert same(await step(router, "behind", 1), 1)

    workers.do(story())


def test_steps_behind_one_whose_time_was_up_in_line_are_refused_too(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "late"))
        await step(router, "late", 0)
        asked = [step(router, "late", number, budget_s=1e-9 if number == 2 else 30.0) for number in (1, 2, 3)]
        first, late, behind = await asyncio.gather(*asked, return_exceptions=True)
        assert not isinstance(first, BaseException) and same(first, 1)
        assert isinstance(late, RequestTimeout)
        assert isinstance(behind, Unavailable)
        for number in (2, 3):
            assert same(await step(router, "late", number), number)

    workers.do(story())


def test_a_start_under_the_same_name_begins_anew(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "anew"))
        for number in (0, 1, 2, 0, 1):
            assert same(await step(router, "anew", number), number)
        assert rebuilt(router) == 0

    workers.do(story())


@pytest.mark.parametrize(
    ("number", "given", "told"),
    [
        (1, {}, r"no sequence 's' is under way \(it is forgotten after 60 s of silence\); begin it with a start"),
        (0, {"missing": True}, "scale is missing"),
        (0, {"plain": True}, "keeps state between requests; tell which sequence this is a step of"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_and_leaves_nothing(
    workers: WorkerSite, router: Router, number: int, given: dict[str, bool], told: str
) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "refusing"))
        about = None if "plain" in given else Step(sequence="s", start=number == 0)
        with pytest.raises(BadInput, match=told):
            await router.infer("refusing", {"x": FEEDS[0]}, step=about)
        assert len(router.sequences) == 0

    workers.do(story())


def test_a_model_without_state_is_asked_without_a_sequence(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await workers.load("stateless", 1))
        with pytest.raises(BadInput, match="stateless keeps no state between requests"):
            await router.infer("stateless", {"x": FEEDS[0]}, step=Step(sequence="s", start=True))

    workers.do(story())


def test_another_version_does_not_go_on_from_this_ones_state(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(replace(await loaded(workers, "versions", 1, checkpoint=1), version=1))
        await step(router, "versions", 0)
        await router.switch(replace(await loaded(workers, "versions", 2, checkpoint=1), version=2))
        with pytest.raises(Unavailable, match="'s' began with version 1, and 2 has taken over; begin it again"):
            await step(router, "versions", 1)
        assert same(await step(router, "versions", 0), 0)

    workers.do(story())


def test_room_is_bounded_and_the_silent_make_room(
    workers: WorkerSite, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        routes = await loaded(workers, "room")
        assert routes.sequence is not None
        await router.switch(replace(routes, sequence=replace(routes.sequence, most=2, idle_s=0.5)))
        for sequence in ("a", "b"):
            await step(router, "room", 0, sequence)
        with pytest.raises(Unavailable, match=r"2 are under way, as many as sequence\.most"):
            await step(router, "room", 0, "c")
        await eventually_here(lambda: len(router.sequences) == 0, what="the silent are forgotten")
        monkeypatch.setattr(sequences, "MOST_BYTES", 1)
        await step(router, "room", 0, "a")
        with pytest.raises(Unavailable, match=r"all sequences here hold \d+ bytes"):
            await step(router, "room", 0, "b")

    workers.do(story())


def test_stages_forget_the_silent_of_themselves(workers: WorkerSite, router: Router) -> None:
    """The router would remember them for longer here, and so has their state made again."""

    async def story() -> None:
        routes = await loaded(workers, "silent", idle_s=0.2)
        assert routes.sequence is not None
        await router.switch(replace(routes, sequence=replace(routes.sequence, idle_s=60)))
        for number in range(8):
            assert same(await step(router, "silent", number), number)
            if rebuilt(router):
                return
            await asyncio.sleep(0.3 * number)  # silence is what is waited for
        raise AssertionError("the stages remember")

    workers.do(story())


def test_a_caller_that_does_not_wait_for_answers_is_held_back(workers: WorkerSite, router: Router) -> None:
    async def story() -> None:
        await router.switch(await loaded(workers, "flooded"))
        asked = [asyncio.create_task(step(router, "flooded", 0))]
        asked += [asyncio.create_task(step(router, "flooded", 1)) for _ in range(sequences.MOST_QUEUED + 3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in found if isinstance(one, RequestFailed)]
        assert any("64 of its steps wait already" in str(one) for one in refused)

    workers.do(story())


@pytest.mark.parametrize("node", ["camera", "cloud"])
def test_a_worker_killed_in_mid_sequence_costs_no_step(workers: WorkerSite, router: Router, node: str) -> None:
    """Last: the node's worker is another one afterwards."""

    async def story() -> None:
        name = f"killed-{node}"
        await router.switch(await loaded(workers, name, 1))
        for number in range(4):
            assert same(await step(router, name, number), number)
        waiting = asyncio.create_task(step(router, name, 4))
        await asyncio.sleep(0)
        await kill(workers, node)
        await router.switch(await loaded(workers, name, 2))
        assert same(await waiting, 4)
        for number in range(5, 8):
            assert same(await step(router, name, number), number)
        assert rebuilt(router) >= 1

    workers.do(story())
