"""What a router posts where a request begins at several stages, and what it takes back when one can't be reached."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from nodes.backend import TensorSpec
from nodes.codec import unpack
from nodes.errors import StreamClosed
from nodes.framing import Frame, Kind
from orchestrator.actions import Cancel, Send
from orchestrator.router_frames import Sent
from orchestrator.router_posts import Connections, Unsent, is_open, post_cancel, post_inputs
from orchestrator.routes import EpochRoutes, Reach

EYE, EAR = Reach(node="camera", address="camera:1"), Reach(node="cloud", address="cloud:1")
ROUTES = EpochRoutes(
    deployment="d",
    epoch=4,
    source="camera",
    stages=(("s1", EYE), ("s2", EAR)),
    inputs=tuple(TensorSpec(name, "float32", (2,)) for name in ("seen", "heard", "both")),
    codecs={"seen": "fp16"},
    outputs=("event",),
    entries=(("s1", ("seen", "both")), ("s2", ("heard", "both"))),
)
SEND = Send(request="r", attempt=2, epoch=4, budget_s=3.0)
FEEDS = {name: np.array([1, 2], np.float32) for name in ("seen", "heard", "both")}


@dataclass
class Stream:
    """A connection that keeps what is posted; `unsent` attempts have not begun to leave."""

    closed: bool = False
    unsent: bool = False
    posted: list[Frame] = field(default_factory=list)

    def post(self, frame: Frame) -> None:
        if self.closed:
            raise StreamClosed("cut")
        self.posted.append(frame)

    def withdraw(self, request: str, attempt: int) -> bool:
        return self.unsent and (request, attempt) == ("r", 2)


def streams(**given: Stream) -> Connections:
    return {f"{node}:1": stream for node, stream in given.items()}  # type: ignore[misc]


def test_each_stage_that_reads_inputs_gets_its_own_and_what_several_read_goes_to_each() -> None:
    camera, cloud = Stream(), Stream()
    post_inputs(streams(camera=camera, cloud=cloud), ROUTES, SEND, FEEDS, Sent("router"))
    (seen,), (heard,) = camera.posted, cloud.posted
    assert (seen.header.stage, sorted(unpack(seen))) == ("s1", ["both", "seen"])
    assert (heard.header.stage, sorted(unpack(heard))) == ("s2", ["both", "heard"])
    assert {(one.header.request, one.header.attempt, one.header.budget_s) for one in (seen, heard)} == {("r", 2, 3.0)}
    assert {meta.name: meta.codec for meta in seen.header.tensors}["seen"] == "fp16"


@pytest.mark.parametrize("cloud", [None, Stream(closed=True)])
def test_where_one_stage_is_not_reached_the_others_are_told_and_the_node_is_named(cloud: Stream | None) -> None:
    camera = Stream()
    there = streams(camera=camera) if cloud is None else streams(camera=camera, cloud=cloud)
    with pytest.raises(Unsent) as unsent:
        post_inputs(there, ROUTES, SEND, FEEDS, Sent("router"))
    assert unsent.value.node == "cloud"
    assert [frame.header.kind for frame in camera.posted] == [Kind.TENSORS, Kind.CANCEL]
    assert not is_open(there, "cloud:1")
    assert is_open(there, "camera:1")


def test_a_cancel_goes_where_something_has_left_only() -> None:
    camera, cloud = Stream(unsent=True), Stream()
    post_cancel(streams(camera=camera, cloud=cloud), ROUTES, Cancel(request="r", attempt=2, epoch=4))
    assert not camera.posted
    assert [(one.header.kind, one.header.stage, one.header.attempt) for one in cloud.posted] == [(Kind.CANCEL, "s2", 2)]
