"""Claims about what a worker tells of its stages' load, and about frames on their way through replicas."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nodes.codec import pack
from nodes.errors import NodesError
from nodes.framing import Carried, Frame, Header, Kind, decode, encode
from nodes.stage_load import StageLoads
from nodes.stage_runner import StageRunner
from nodes.stage_spec import StageSpec, Successor
from tests.nodes.test_stage_runner import NEXT, Post, spec, with_stage
from tests.nodes.wires import Doubler, Pair, pair, request_frame, run

TWIN = Successor(stage="s2", address="twin:1", node="twin")


class Stub(SimpleNamespace):
    """A runner's counts."""

    spec: StageSpec


def stub(**counts: Any) -> Any:
    return Stub(**({"spec": spec(max_batch=2), "served": 0, "busy_s": 0.0, "in_hand": 0} | counts))


def news(loads: StageLoads, runner: Any, now_s: float) -> list[dict[str, Any]]:
    return list(loads.news([runner], now_s))


def test_a_used_stage_is_told_of_once_a_second_with_what_it_did() -> None:
    loads, runner = StageLoads(), stub()
    assert news(loads, runner, 0.0) == []
    runner.served, runner.busy_s, runner.in_hand = 6, 0.75, 5
    assert news(loads, runner, 0.5) == []
    (told,) = news(loads, runner, 1.5)
    assert (told["stage"], told["epoch"], told["interval_s"]) == ("s1", 1, 1.5)
    assert (told["served"], told["busy_s"], told["arrived"], told["queued"]) == (6, 0.75, 11, 3)
    runner.served, runner.in_hand = 10, 1
    assert [told["arrived"] for told in news(loads, runner, 2.5)] == [0]


def test_an_idle_stage_says_so_at_once_and_then_every_ten_seconds() -> None:
    loads, runner = StageLoads(), stub(served=3)
    told_s = [second for second in range(25) if news(loads, runner, float(second))]
    assert told_s == [1, 2, 12, 22]


def test_a_stage_that_is_gone_is_forgotten() -> None:
    loads, runner = StageLoads(), stub(served=3)
    news(loads, runner, 0.0)
    assert list(loads.news([], 1.0)) == [] and not loads._spells


def test_a_runner_counts_its_runs_and_what_they_took() -> None:
    async def scenario(runner: StageRunner, post: Post, streams: Pair) -> None:
        for number in range(3):
            runner.accept(request_frame(f"r{number}"), streams.b)
            await post.answered.get()
        assert runner.served == 3 and 0 < runner.busy_s < 5

    with_stage(scenario)


class Addressed(Post):
    """Notes where frames go."""

    def forward(self, successor: Successor, frame: Frame) -> None:
        self.forwarded.put_nowait(frame)
        self.counted.append(successor.node)

    def has_room(self, successor: Successor, call: Any) -> bool:
        return successor.node != "mec"


def test_a_frame_goes_to_the_replica_that_its_way_names_and_so_does_its_cancel() -> None:
    async def whole() -> None:
        post, streams = Addressed(), pair(manual_credit=True)
        runner = StageRunner(spec(successor=NEXT, others=(TWIN,), sends=("y",), returns=()), Doubler(), post, post)
        for number, way in enumerate((("twin", "cloud"), ("mec",), (), ("nobody",))):
            runner.accept(request_frame(f"r{number}", way=way), streams.b)
            assert (await post.forwarded.get()).header.way == way[1:]
        runner.cancel(Header(kind=Kind.CANCEL, deployment="d", epoch=1, stage="s1", request="r9", way=("twin",)))
        cancel = await post.forwarded.get()
        assert (cancel.header.stage, cancel.header.way) == ("s2", ())
        assert [node for node in post.counted if node != "served"] == ["twin", "mec", "mec", "mec", "twin"]
        await runner.close()
        await streams.close()

    run(whole)


def test_a_way_survives_the_wire_and_is_not_sent_where_there_is_none() -> None:
    for way in ((), ("twin",), ("twin", "cloud")):
        frame = pack(Header(request="r", stage="s1", way=way), {"x": np.zeros(1, np.float32)}, {})
        for _ in range(2):  # the second is read by its beginning
            assert decode(encode(frame, Carried(1))).header.way == way
    assert b"\xa1w" not in encode(pack(Header(request="r"), {}, {}))


def test_replicas_of_the_next_stage_travel_in_a_stages_spec() -> None:
    given = spec(successor=NEXT, others=(TWIN,), sends=("y",), returns=())
    assert StageSpec.from_map(given.to_map()) == given
    assert StageSpec.from_map({key: value for key, value in given.to_map().items() if key != "others"}).others == ()
    with pytest.raises(NodesError, match="malformed"):
        StageSpec.from_map(given.to_map() | {"others": [{"stage": "s2"}]})
