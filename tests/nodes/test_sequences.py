"""What a stage keeps between the steps of a sequence: as values, and through runs of a program that adds up."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nodes.backend import Array, TensorSpec
from nodes.codec import pack, unpack
from nodes.errors import BadInput, SequenceLost
from nodes.framing import Frame, Header
from nodes.sequences import Sequences
from nodes.stage_spec import StageSpec, Successor
from nodes.stage_work import Worked, work

X, SUM, SCALE = (TensorSpec(name, "float32", (None, 2)) for name in ("x", "sum", "scale"))
BASE: dict[str, Any] = {"deployment": "d", "epoch": 1, "stage": "s1", "artifact": "", "backend": "", "returns": ("y",)}


def spec(**given: Any) -> StageSpec:
    return StageSpec(**(BASE | {"state": {"sum_next": "sum"}, "kept": ("scale",)} | given))


def array(*values: float) -> Array:
    return np.array([values], np.float32)


class Adder:
    """y = sum + scale · x, which is the next step's sum; it remembers how many rows its runs had."""

    inputs: tuple[TensorSpec, ...] = (X, SUM, SCALE)
    outputs: tuple[TensorSpec, ...] = (
        TensorSpec("y", "float32", (None, 2)),
        TensorSpec("sum_next", "float32", (None, 2)),
    )

    def __init__(self) -> None:
        self.rows: list[int] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.rows.append(len(feeds["x"]))
        made = np.add(feeds["sum"], np.multiply(feeds["scale"], feeds["x"]))
        return {"y": made, "sum_next": made.copy()}

    def close(self) -> None:
        """Nothing to free."""


def step(sequence: str, position: int, *, last: bool = False, snapshot: bool = False, **more: Array) -> Frame:
    about = {"sequence": sequence, "position": position, "last": last, "snapshot": snapshot}
    header = Header(deployment="d", epoch=1, stage="s1", request=f"{sequence}{position}", **about)  # type: ignore[arg-type]
    return pack(header, {"x": array(1, 2)} | more, {})


class Stage:
    """The stage, and what it made of the frames."""

    def __init__(self, **given: Any) -> None:
        self.spec, self.program = spec(**given), Adder()
        self.held = Sequences(self.spec, self.program.inputs)

    def run(self, *frames: Frame) -> list[Worked]:
        return work(self.spec, self.program, frames, (), self.held)

    def y(self, frame: Frame) -> list[float]:
        (worked,) = self.run(frame)
        assert worked.fault is None, worked.fault
        return [float(v) for v in returned(worked)["y"][0]]

    def kind(self, frame: Frame) -> str:
        (worked,) = self.run(frame)
        return "" if worked.fault is None else worked.fault.kind


def returned(worked: Worked) -> dict[str, Array]:
    metas, buffers = zip(*worked.returns, strict=True)
    return unpack(Frame(Header(tensors=metas), buffers))


def test_a_step_is_fed_the_state_of_the_one_before_and_what_came_with_the_first() -> None:
    stage = Stage()
    assert stage.y(step("a", 0, scale=array(2, 2))) == [2, 4]
    assert stage.y(step("a", 1)) == [4, 8]
    assert stage.y(step("a", 2)) == [6, 12]


def test_sequences_know_nothing_of_each_other() -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    assert stage.y(step("b", 0, scale=array(1, 1))) == [1, 2]
    assert stage.y(step("a", 1)) == [4, 8]


def test_several_sequences_share_a_run_and_stay_apart() -> None:
    stage = Stage(max_batch=4)
    stage.run(step("a", 0, scale=array(2, 2)), step("b", 0, scale=array(1, 1)))
    made = stage.run(step("a", 1), step("b", 1))
    assert [returned(one)["y"].tolist() for one in made] == [[[4, 8]], [[2, 4]]]
    assert stage.program.rows == [2, 2]


@pytest.mark.parametrize("position", [2, 3, 1 << 40])
def test_a_step_out_of_turn_is_lost_and_changes_nothing(position: int) -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    assert stage.kind(step("a", position)) == "SequenceLost"
    assert stage.y(step("a", 1)) == [4, 8]


def test_a_step_that_ran_is_not_run_again_from_the_state_after_it() -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    stage.y(step("a", 1))
    assert stage.kind(step("a", 1)) == "SequenceLost"


def test_a_step_of_a_sequence_that_was_never_here_is_lost() -> None:
    assert Stage().kind(step("a", 5)) == "SequenceLost"


def test_a_step_that_brings_state_begins_with_that() -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    assert stage.y(step("a", 7, sum=array(100, 100), scale=array(1, 1))) == [101, 102]
    assert stage.y(step("a", 8)) == [102, 104]


def test_one_lost_sequence_spoils_no_other_of_its_batch() -> None:
    stage = Stage(max_batch=4)
    stage.run(step("a", 0, scale=array(2, 2)))
    lost, fine = stage.run(step("b", 1), step("a", 1))
    assert lost.fault is not None and lost.fault.kind == "SequenceLost" and not lost.fault.caller_fault
    assert returned(fine)["y"].tolist() == [[4, 8]]


def test_the_last_step_is_answered_and_the_sequence_forgotten() -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    assert stage.y(step("a", 1, last=True)) == [4, 8]
    assert (len(stage.held), stage.held.nbytes) == (0, 0)


def test_a_run_that_fails_leaves_the_state_as_it_was() -> None:
    stage = Stage()
    stage.y(step("a", 0, scale=array(2, 2)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stage.program, "run", lambda feeds: 1 / 0)
        assert stage.kind(step("a", 1)) == "RunError"
    assert stage.y(step("a", 1)) == [4, 8]


def test_state_is_returned_only_where_a_snapshot_is_wanted() -> None:
    stage = Stage()
    (first,) = stage.run(step("a", 0, scale=array(2, 2)))
    (second,) = stage.run(step("a", 1, snapshot=True))
    assert set(returned(first)) == {"y"}
    assert returned(second)["sum_next"].tolist() == [[4, 8]]


def test_state_of_later_stages_passes_through_untouched() -> None:
    successor = Successor(stage="s2", address="mec:1", node="mec")
    stage = Stage(carries=("far",), sends=("y",), returns=(), successor=successor)
    (worked,) = stage.run(step("a", 0, scale=array(1, 1), far=array(5, 5)))
    assert {meta.name: np.frombuffer(buffer, np.float32).tolist() for meta, buffer in worked.sends} == {
        "y": [1, 2],
        "far": [5, 5],
    }
    (worked,) = stage.run(step("a", 1))
    assert [meta.name for meta, _ in worked.sends] == ["y"]


def test_a_request_without_a_sequence_and_one_without_what_is_kept_are_the_callers_fault() -> None:
    held = Sequences(spec(), Adder.inputs)
    with pytest.raises(BadInput, match=r"stage 's1' of 'd' keeps state .* names no sequence"):
        held.recall("", 0, {"x": array(1)}, 1)
    with pytest.raises(BadInput, match="sequence 'a' begins without scale"):
        held.recall("a", 0, {"x": array(1)}, 1)


def kept(held: Sequences, name: str, at_s: float = 0.0) -> None:
    held.keep(name, 0, {"scale": np.ones((1, 2), np.float32)}, {"sum_next": np.ones((1, 2), np.float32)}, at_s)


@pytest.mark.parametrize("limit", [{"most_sequences": 2}, {"sequence_bytes": 2 * 16}])
def test_the_sequence_silent_longest_goes_where_there_is_no_room(limit: dict[str, int]) -> None:
    held = Sequences(spec(**limit), Adder.inputs)
    for name in ("a", "b", "a", "c"):
        kept(held, name)
    assert (len(held), held.nbytes) == (2, 32)
    assert held.recall("a", 1, {}, 1).keys() == {"sum", "scale"}
    with pytest.raises(SequenceLost, match="step 1 of sequence 'b' came, while here is nothing of it"):
        held.recall("b", 1, {}, 1)


def test_one_sequence_is_kept_however_large_it_is() -> None:
    held = Sequences(spec(sequence_bytes=1), Adder.inputs)
    kept(held, "a")
    assert len(held) == 1


def test_a_silent_sequence_is_forgotten_and_one_that_speaks_is_not() -> None:
    held = Sequences(spec(idle_s=10), Adder.inputs)
    kept(held, "a", at_s=0)
    kept(held, "b", at_s=5)
    held.forget_idle(12)
    assert len(held) == 1 and held.recall("b", 1, {}, 1)


def test_what_is_kept_holds_no_frame_and_no_batch_alive() -> None:
    stage = Stage(max_batch=4)
    stage.run(step("a", 0, scale=array(2, 2)), step("b", 0, scale=array(1, 1)))
    assert all(one.flags.owndata for one in stage.held.recall("a", 1, {}, 1).values())
