"""A stage's life between frames in and frames out, with a small program and streams in memory."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array
from nodes.codec import pack, unpack
from nodes.connection import Connection
from nodes.framing import Frame, Header, Kind, encode
from nodes.stage_runner import StageRunner
from nodes.stage_spec import StageSpec, Successor
from nodes.stage_work import work
from nodes.watchdog import Patience
from tests.nodes.wires import Doubler, Pair, pair, request_frame, run

NEXT = Successor(stage="s2", address="mec:1", node="mec")


@dataclass
class Post:
    """An outlet that keeps what it is given, and an observer that counts."""

    forwarded: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    answered: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    room: bool = True
    waiting: list[Callable[[], None]] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)

    def forward(self, successor: Successor, frame: Frame) -> None:
        encode(frame)  # as a stream does: what can't be sent would end it
        self.forwarded.put_nowait(frame)

    def has_room(self, successor: Successor, call: Callable[[], None]) -> bool:
        if not self.room:
            self.waiting.append(call)
        return self.room

    def answer(self, frame: Frame, via: Connection) -> None:
        self.answered.put_nowait(frame)

    def ran(self, spec: StageSpec, frames: Sequence[Frame]) -> None:
        self.runs.append(len(frames))

    def served(self, spec: StageSpec, queue_s: float, worked: Any) -> None:
        self.counted.append("served")

    def failed(self, spec: StageSpec, header: Header) -> None:
        self.counted.append("failed")


class Gated(Doubler):
    """Runs only once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.entered.set()
        self.gate.wait(10)
        return super().run(feeds)


class Broken(Doubler):
    """An engine that fails in a way of its own."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        raise RuntimeError("engine\nfell over")


def spec(**given: Any) -> StageSpec:
    base: dict[str, Any] = {
        "deployment": "d",
        "epoch": 1,
        "stage": "s1",
        "artifact": "",
        "backend": "",
        "returns": ("y",),
    }
    return StageSpec(**(base | given))


def with_stage(
    scenario: Callable[[StageRunner, Post, Pair], Awaitable[None]], program: Doubler | None = None, **given: Any
) -> None:
    async def whole() -> None:
        post, streams = Post(), pair(manual_credit=True)
        runner = StageRunner(spec(**given), program or Doubler(), post, post)
        await scenario(runner, post, streams)
        await runner.close()
        await streams.close()

    run(whole)


def test_outputs_go_to_the_router_under_the_requests_own_header() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame("r7", attempt=2, trace="t"), streams.b)
        answer = await post.answered.get()
        assert np.array_equal(unpack(answer)["y"], np.full((1, 4), 4, np.float32))
        header = answer.header
        assert (header.request, header.attempt, header.trace, header.stage) == ("r7", 2, "t", "s1")

    with_stage(scenario)


def test_tensors_for_later_stages_are_passed_on_still_encoded() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        extra = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)
        arrays = {"x": np.ones((1, 4), np.float32), "skip": extra}
        sent = pack(request_frame().header, arrays, {"skip": "int8"})
        runner.accept(sent, streams.b)
        onward = await post.forwarded.get()
        assert onward.header.stage == "s2"
        assert [meta.name for meta in onward.header.tensors] == ["y", "skip"]
        assert onward.header.tensors[0].codec == "fp16"
        assert onward.buffers[1] is sent.buffers[1]

    with_stage(scenario, successor=NEXT, sends=("y", "skip"), returns=(), codecs={"y": "fp16"})


def test_a_duplicate_runs_once_and_another_attempt_runs_again() -> None:
    program = Doubler()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for attempt in (0, 0, 1, 0):
            runner.accept(request_frame(attempt=attempt), streams.b)
        assert [(await post.answered.get()).header.attempt for _ in range(2)] == [0, 1]
        assert await runner.drain(5)
        assert len(program.batches) == 2

    with_stage(scenario, program)


@pytest.mark.parametrize(
    ("frame", "kind", "caller_fault"),
    [
        (pack(request_frame().header, {"z": np.ones(4)}, {}), "BadInput", True),
        (pack(request_frame().header, {"x": np.full((1, 4), np.nan, np.float32)}, {}), "BadInput", True),
        (Frame(pack(request_frame().header, {"x": np.ones(4)}, {}).header, (b"short",)), "MalformedFrame", True),
    ],
    ids=["missing", "refused", "short"],
)
def test_what_is_wrong_with_the_request_is_the_callers_fault(frame: Frame, kind: str, caller_fault: bool) -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(frame, streams.b)
        header = (await post.answered.get()).header
        assert header.kind is Kind.ERROR
        assert header.fault is not None
        assert (header.fault.kind, header.fault.caller_fault) == (kind, caller_fault)

    with_stage(scenario)


def test_an_engine_that_breaks_fails_the_request_and_not_the_worker() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame(), streams.b)
        fault = (await post.answered.get()).header.fault
        assert fault is not None
        assert fault == ("RunError", "RuntimeError: engine fell over", False)
        assert post.counted == ["failed"]

    with_stage(scenario, Broken())


def test_the_loop_goes_on_while_a_stage_computes() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame("r1"), streams.b)
        streams.a.post(request_frame("r2"))
        assert (await streams.at_b.frames.get()).header.request == "r2"
        assert post.answered.empty()
        program.gate.set()
        assert (await post.answered.get()).header.request == "r1"

    with_stage(scenario, program)


def test_requests_that_wait_share_a_run_up_to_max_batch() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for number in range(6):
            runner.accept(request_frame(f"r{number}", rows=number % 2 + 1), streams.b)
        program.gate.set()
        answers = [await post.answered.get() for _ in range(6)]
        assert [len(unpack(frame)["y"]) for frame in answers] == [1, 2, 1, 2, 1, 2]
        assert program.batches == [1, 3, 3, 2]  # rows of the runs: the first began before the others came
        assert post.runs == [1, 2, 2, 1]  # their requests

    with_stage(scenario, program, max_batch=4)


def test_every_run_is_told_also_of_requests_that_run_at_once() -> None:
    program = Doubler()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for number in range(50):  # quick ones need no thread after a while
            runner.accept(request_frame(f"r{number}"), streams.b)
            await post.answered.get()
        assert post.runs == [1] * 50

    with_stage(scenario, program)


def test_one_bad_request_of_a_batch_does_not_spoil_the_others() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("ahead", "ahead too"):
            runner.accept(request_frame(name), streams.b)
        bad = pack(request_frame("bad").header, {"x": np.full((1, 4), np.nan, np.float32)}, {})
        runner.accept(bad, streams.b)
        runner.accept(request_frame("good"), streams.b)
        program.gate.set()
        answers = {frame.header.request: frame.header.kind for frame in [await post.answered.get() for _ in range(4)]}
        assert (answers["bad"], answers["good"]) == (Kind.ERROR, Kind.TENSORS)

    with_stage(scenario, program, max_batch=4)


def test_an_expired_budget_is_an_error_and_never_runs() -> None:
    program = Doubler()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame(budget_s=0.0), streams.b)
        fault = (await post.answered.get()).header.fault
        assert fault is not None
        assert fault.kind == "BudgetExpired"
        assert program.batches == []

    with_stage(scenario, program)


def test_the_budget_shrinks_by_the_time_spent_here() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame(budget_s=50.0), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        program.gate.set()
        budget_s = (await post.forwarded.get()).header.budget_s
        assert budget_s is not None
        assert 0 < budget_s < 50.0

    with_stage(scenario, program, successor=NEXT, sends=("y",), returns=())


def test_a_cancelled_request_is_dropped_and_the_next_stage_told() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("runs", "queued", "waits"):
            runner.accept(request_frame(name), streams.b)
        await asyncio.to_thread(program.entered.wait, 5)
        for name in ("runs", "waits"):
            runner.cancel(Header(kind=Kind.CANCEL, request=name))
        program.gate.set()
        told = [(await post.forwarded.get()).header for _ in range(3)]
        assert [(h.kind, h.request, h.stage) for h in told[:2]] == [
            (Kind.CANCEL, "runs", "s2"),
            (Kind.CANCEL, "waits", "s2"),
        ]
        assert told[2].request == "queued"
        assert await runner.drain(5)
        assert len(program.batches) == 2

    with_stage(scenario, program, successor=NEXT, sends=("y",), returns=())


def test_a_cancel_that_overtakes_its_request_holds() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.cancel(Header(kind=Kind.CANCEL, request="r1"))
        runner.accept(request_frame("r1"), streams.b)
        assert runner.idle

    with_stage(scenario)


def test_nothing_runs_while_the_next_stage_takes_no_more() -> None:
    program = Doubler()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        post.room = False
        runner.accept(request_frame(), streams.b)
        assert program.batches == []
        post.room = True
        post.waiting.pop()()
        await post.forwarded.get()

    with_stage(scenario, program, successor=NEXT, sends=("y",), returns=())


def test_a_full_queue_refuses_the_newcomer() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for number in range(4):
            runner.accept(request_frame(f"r{number}"), streams.b)
        header = (await post.answered.get()).header
        assert header.fault is not None
        assert (header.request, header.fault.kind) == ("r3", "Overloaded")
        program.gate.set()

    with_stage(scenario, program, queue_limit=1)


def test_a_traced_request_gathers_a_timing_at_each_hop_and_others_none() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame("plain"), streams.b)
        assert (await post.answered.get()).header.timings is None
        runner.accept(request_frame("traced", timings=()), streams.b)
        timings = (await post.answered.get()).header.timings
        assert timings is not None
        assert [timing.stage for timing in timings] == ["s1"]
        assert timings[0].compute_s > 0

    with_stage(scenario)


def test_time_behind_another_in_the_lane_counts_as_waiting() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("runs", "next"):
            runner.accept(request_frame(name, timings=()), streams.b)
        came_s = time.monotonic()
        await asyncio.to_thread(program.entered.wait, 5)  # the first is at work
        held_s = time.monotonic() - came_s
        program.gate.set()
        _, (second,) = [(await post.answered.get()).header.timings or () for _ in range(2)]
        assert second.queue_s >= held_s

    with_stage(scenario, program)


def test_a_slowdown_sleeps_in_proportion_to_the_work() -> None:
    slept: list[float] = []
    worked = work(spec(slowdown=8.0), Doubler(), [request_frame()], sleep=slept.append)[0]
    total_s = worked.decode_s + worked.compute_s + worked.encode_s
    assert slept == [pytest.approx(total_s * 7 / 8)]


def test_used_frames_give_their_credit_back() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        streams.a.post(request_frame())
        frame = await streams.at_b.frames.get()
        assert streams.a._outstanding_bytes == frame.nbytes
        runner.accept(frame, streams.b)
        await post.answered.get()
        await streams.a.ping()
        assert streams.a._outstanding_bytes == 0

    with_stage(scenario)


def test_closing_frees_the_engine() -> None:
    program = Doubler()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame(), streams.b)
        await post.answered.get()

    with_stage(scenario, program)
    assert program.closed


def with_hung_stage(scenario: Callable[[StageRunner, Post, Pair], Awaitable[None]], program: Gated) -> list[str]:
    """What the worker ends with. The gate is opened at last, so that no thread stays."""
    ended: list[str] = []

    async def whole() -> None:
        post, streams, is_over = Post(), pair(manual_credit=True), threading.Event()
        patience = Patience(least_s=0.1, first_s=0.1)

        def end(line: str) -> None:
            ended.append(line)
            is_over.set()

        runner = StageRunner(spec(), program, post, post, patience=patience, end=end)
        await scenario(runner, post, streams)
        await asyncio.to_thread(is_over.wait, 5)
        program.gate.set()
        await runner.close()
        await streams.close()

    run(whole)
    return ended


@pytest.mark.slow
def test_a_hung_stage_says_so_for_each_request_that_it_has_or_gets_and_ends_its_worker() -> None:
    program = Gated()

    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for name in ("runs", "next", "waits"):
            runner.accept(request_frame(name), streams.b)
        headers = [(await post.answered.get()).header for _ in range(3)]
        runner.accept(request_frame("late"), streams.b)
        headers.append((await post.answered.get()).header)
        assert [header.request for header in headers] == ["runs", "next", "waits", "late"]
        faults = [header.fault for header in headers if header.fault is not None]
        assert [(fault.kind, fault.caller_fault) for fault in faults] == [("StageHung", False)] * 4
        assert faults[0].message.startswith("stage 's1' of 'd' at epoch 1 is hung: a run has taken")
        assert runner.idle

    (line,) = with_hung_stage(scenario, program)
    assert line.endswith("the worker ends so that another takes over")


class Overflowing(Doubler):
    """Makes NaN of every number above one."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        made = super().run(feeds)
        return {"y": np.where(feeds["x"] > 1, np.float32(np.nan), made["y"])}


class Misshapen(Doubler):
    """Makes rows of three columns instead of four."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": super().run(feeds)["y"][:, :3]}


@pytest.mark.parametrize(
    ("program", "message"), [(Overflowing(), "output 'y' holds NaN"), (Misshapen(), "output 'y' came as float32[1, 3]")]
)
def test_a_bad_output_is_handed_to_nobody_and_is_not_the_callers_fault(program: Doubler, message: str) -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        runner.accept(request_frame(), streams.b)
        fault = (await post.answered.get()).header.fault
        assert fault is not None
        assert (fault.kind, fault.caller_fault) == ("BadOutput", False)
        assert fault.message.startswith(message)

    with_stage(scenario, program)


def test_one_bad_output_of_a_batch_spoils_no_other() -> None:
    good = pack(request_frame("good").header, {"x": np.zeros((1, 4), np.float32)}, {})
    bad, fine = work(spec(max_batch=2), Overflowing(), [request_frame("bad"), good])
    assert bad.fault is not None
    assert fine.fault is None


def test_outputs_named_unbounded_are_handed_on_whatever_they_hold() -> None:
    assert work(spec(), Overflowing(), [request_frame()], ("y",))[0].fault is None
