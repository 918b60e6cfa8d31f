"""A stage where branches part or meet: each successor gets its own tensors, a run waits for all senders."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.codec import pack, unpack
from nodes.framing import Frame, Header, Kind
from nodes.stage_runner import StageRunner
from nodes.stage_spec import Branch, StageSpec, Successor
from tests.nodes.test_stage_runner import Post
from tests.nodes.wires import Pair, pair, run

LEFT, RIGHT = (Successor(stage=name, address=f"{name}:1", node=name) for name in ("left", "right"))


class Arithmetic:
    """sum = x + y, product = x · y."""

    inputs = tuple(TensorSpec(name, "float32", (1, 4)) for name in "xy")
    outputs = tuple(TensorSpec(name, "float32", (1, 4)) for name in ("sum", "product"))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"sum": feeds["x"] + feeds["y"], "product": feeds["x"] * feeds["y"]}

    def close(self) -> None:
        """Nothing to free."""


def stage(**given: Any) -> StageSpec:
    about: dict[str, Any] = {"deployment": "d", "epoch": 1, "stage": "s3", "artifact": "", "backend": "none"}
    return StageSpec(**(about | {"gathers": 2, "returns": ("sum", "product")} | given))


PARTING = stage(
    returns=(), successor=LEFT, sends=("sum",), further=(Branch(successor=RIGHT, sends=("sum", "product")),)
)


def message(tensor: str, value: float, **header: Any) -> Frame:
    about = {"deployment": "d", "epoch": 1, "stage": "s3", "origin": "router", "request": "r1", "attempt": 1} | header
    return pack(Header(**about), {tensor: np.full((1, 4), value, np.float32)}, {})  # type: ignore[arg-type]


def runner(spec: StageSpec, post: Post) -> StageRunner:
    return StageRunner(spec, Arithmetic(), post, post)


async def end(runner: StageRunner, *pairs: Pair) -> None:
    await runner.close()
    for each in pairs:
        await each.close()


def test_a_run_waits_for_every_sender_and_answers_once() -> None:
    async def scenario() -> None:
        post, one, other = Post(), pair(), pair()
        meeting = runner(stage(), post)
        meeting.accept(message("x", 3), one.b)
        assert meeting.idle
        meeting.accept(message("x", 3), one.b)  # again, as after a broken stream
        assert meeting.idle
        meeting.accept(message("y", 5), other.b)
        answer = unpack(await post.answered.get())
        assert (answer["sum"].tolist(), answer["product"].tolist()) == ([[8] * 4], [[15] * 4])
        meeting.accept(message("y", 5), other.b)
        assert await meeting.drain(5)
        assert (post.runs, post.answered.empty()) == ([1], True)
        await end(meeting, one, other)

    run(scenario)


def test_each_successor_gets_its_own_tensors() -> None:
    async def scenario() -> None:
        post, one = Post(), pair()
        parting = runner(PARTING, post)
        parting.accept(message("x", 3), one.b)
        parting.accept(message("y", 5), one.b)
        sent = {(frame := await post.forwarded.get()).header.stage: sorted(unpack(frame)) for _ in range(2)}
        assert sent == {"left": ["sum"], "right": ["product", "sum"]}
        await end(parting, one)

    run(scenario)


def test_a_cancel_puts_half_a_request_away_and_is_passed_on_to_every_branch_once() -> None:
    async def scenario() -> None:
        post, one = Post(), pair()
        parting = runner(PARTING, post)
        parting.accept(message("x", 3), one.b)
        for _ in range(2):  # from both of the branches that meet here
            parting.cancel(message("x", 3, kind=Kind.CANCEL).header)
        told = [(await post.forwarded.get()).header for _ in range(2)]
        assert [(header.kind, header.stage) for header in told] == [(Kind.CANCEL, "left"), (Kind.CANCEL, "right")]
        assert post.forwarded.empty()
        parting.accept(message("y", 5), one.b)
        assert parting.idle
        parting.accept(message("x", 3, attempt=2), one.b)
        parting.accept(message("y", 5, attempt=2), one.b)
        assert (await post.forwarded.get()).header.attempt == 2
        await end(parting, one)

    run(scenario)


def test_half_a_request_is_put_away_once_its_time_is_up() -> None:
    async def scenario() -> None:
        post, one = Post(), pair(manual_credit=True)
        meeting = runner(stage(), post)
        came = message("x", 3, budget_s=1e-9)
        meeting.accept(came, one.b)
        held = one.b._credit_bytes
        meeting.forget_idle(1e12)
        assert one.b._credit_bytes - held == came.nbytes
        await end(meeting, one)

    run(scenario)


def test_a_spec_with_branches_survives_the_wire_and_one_of_before_has_none() -> None:
    assert StageSpec.from_map(PARTING.to_map()) == PARTING
    before = {name: value for name, value in stage().to_map().items() if name not in ("further", "gathers")}
    assert StageSpec.from_map(before) == replace(stage(), gathers=1)
