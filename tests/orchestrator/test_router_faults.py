"""What the router makes of a worker's error frame."""

import asyncio

import numpy as np

from nodes.framing import Fault, Header
from orchestrator.actions import FailRequest, Send
from orchestrator.answers import Waiting
from orchestrator.router_faults import Faulty
from orchestrator.router_feeds import non_finite
from tests.orchestrator.test_routing import FIRST, routed

HEADER = Header(deployment="d", epoch=1, stage="s2", request="a", attempt=1)


def told(kind: str, *, value: float) -> list[object]:
    """What the core does about that fault of a request whose input holds this value."""
    future: asyncio.Future[object] = asyncio.Future(loop=asyncio.new_event_loop())
    waiting = Waiting({"x": np.array([value])}, future, 0.0, False)  # type: ignore[arg-type]
    actions = Faulty(HEADER, Fault(kind, "it broke"), None, waiting).tell(routed(FIRST, "a"), lambda _: [], 1.0)
    future.get_loop().close()
    return [action for action in actions if isinstance(action, FailRequest | Send)]


def test_a_bad_output_of_an_input_that_is_not_finite_is_the_callers_fault_at_once() -> None:
    (failed,) = told("BadOutput", value=np.nan)
    assert isinstance(failed, FailRequest)
    assert (failed.kind, failed.error) == ("caller", "request a: input x holds NaN or infinity, and so it broke")


def test_a_bad_output_of_a_finite_input_is_tried_again() -> None:
    (sent,) = told("BadOutput", value=1.0)
    assert isinstance(sent, Send)


def test_another_fault_has_nothing_to_do_with_what_the_input_holds() -> None:
    (sent,) = told("RunError", value=np.nan)
    assert isinstance(sent, Send)


def test_integers_are_always_finite() -> None:
    assert non_finite({"n": np.array([1]), "x": np.array([np.inf])}) == ["x"]
