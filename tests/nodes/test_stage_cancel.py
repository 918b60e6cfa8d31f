"""Requests that a stage does not begin, or not with others: cancelled ones, a gone router's, hostile ones."""

import asyncio

from nodes.framing import Frame, Header, Kind
from nodes.stage_runner import StageRunner
from tests.nodes.test_stage_runner import NEXT, Gated, Post, with_stage
from tests.nodes.wires import Pair, request_frame


def test_what_waits_for_the_lane_has_not_begun_and_is_dropped_too() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, _: Post, streams: Pair) -> None:
        for name in ("runs", "in the lane", "waits"):
            runner.accept(request_frame(name), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        for name in ("in the lane", "waits"):
            runner.cancel(Header(kind=Kind.CANCEL, request=name))
        assert runner.in_hand == 1
        program.gate.set()
        assert await runner.drain(5)
        assert len(program.batches) == 1

    with_stage(scenario, program)


def test_one_cancelled_request_of_a_batch_that_waits_for_the_lane_does_not_run_with_it() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("runs", "also", "batched", "cancelled"):
            runner.accept(request_frame(name), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        runner.cancel(Header(kind=Kind.CANCEL, request="cancelled"))
        program.gate.set()
        answered = [(await post.answered.get()).header.request for _ in range(3)]
        assert answered == ["runs", "also", "batched"]
        assert sum(program.batches) == 3

    with_stage(scenario, program, max_batch=2)


def test_requests_of_a_router_that_is_gone_are_dropped_and_those_of_others_run() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name, origin in (("runs", "gone"), ("lane", "gone"), ("waits", "gone"), ("stays", "router")):
            runner.accept(request_frame(name, origin=origin), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        runner.cancel_all_of("gone")
        assert runner.in_hand == 2
        program.gate.set()
        assert (await post.answered.get()).header.request == "stays"
        assert len(program.batches) == 2

    with_stage(scenario, program)


def test_the_next_stage_is_told_when_a_router_is_gone() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("runs", "waits"):
            runner.accept(request_frame(name, origin="gone"), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        runner.cancel_all_of("gone")
        told = [(await post.forwarded.get()).header for _ in range(2)]
        assert [(one.kind, one.request, one.tensors) for one in told] == [
            (Kind.CANCEL, "runs", ()), (Kind.CANCEL, "waits", ()),
        ]  # fmt: skip
        program.gate.set()

    with_stage(scenario, program, successor=NEXT, sends=("y",), returns=())


def test_what_waits_where_a_stage_is_dropped_is_told_so_and_its_credit_is_given_back() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for number in range(5):
            runner.accept(request_frame(f"r{number}"), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        closing = asyncio.create_task(runner.close())
        program.gate.set()
        await closing
        ended = [(await post.answered.get()).header for _ in range(5)]
        kinds = {one.request: one.fault.kind if one.fault else "" for one in ended}
        assert set(kinds) == {f"r{number}" for number in range(5)}
        assert kinds["r0"] == ""
        assert set(list(kinds.values())[2:]) == {"UnknownEpoch"}
        assert runner.in_hand == 0

    with_stage(scenario, program)


def test_a_request_that_claims_rows_without_number_runs_alone_and_keeps_nobody_waiting() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame("runs", rows=4), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        claims = request_frame("claims")
        meta = claims.header.tensors[0]._replace(shape=(1 << 62, 4))
        runner.accept(Frame(claims.header._replace(tensors=(meta,)), claims.buffers), streams.b)
        assert runner._batcher.rows + 4 * runner._lane.pending <= 8
        program.gate.set()
        kinds = [(await post.answered.get()).header.kind for _ in range(2)]
        assert kinds == [Kind.TENSORS, Kind.ERROR]

    with_stage(scenario, program, max_batch=4)
