"""Messages of one request from several senders: when they are complete, what is put away, whose credit comes back."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.codec import pack, unpack
from nodes.framing import Frame, Header, HopTiming
from nodes.partial import PATIENCE_S, Partials, merged


@dataclass
class Credit:
    """A stream that remembers what was given back."""

    given_back: list[Frame] = field(default_factory=list)

    def consumed(self, frame: Frame) -> None:
        self.given_back.append(frame)


def message(tensor: str, request: str = "r", *, attempt: int = 1, **header: object) -> Frame:
    about = Header(request=request, attempt=attempt, origin="router", **header)  # type: ignore[arg-type]
    return pack(about, {tensor: np.full(3, len(tensor), np.float32)}, {})


def test_the_last_message_completes_a_request_and_all_tensors_are_in_one_frame() -> None:
    partials, left, right = Partials(2), Credit(), Credit()
    hop = HopTiming("s1", 0.0, 0.0, 1.0, 0.0)
    assert not partials.add("r", message("x", budget_s=2.0, timings=(hop,)), left, 0.0)
    came = partials.add("r", message("yy", budget_s=1.5, timings=(hop, hop._replace(stage="s2"))), right, 0.1)
    frame = merged(came)
    assert {name: array.tolist() for name, array in unpack(frame).items()} == {"x": [1] * 3, "yy": [2] * 3}
    assert frame.header.budget_s == 1.5
    assert [timing.stage for timing in frame.header.timings or ()] == ["s1", "s2"]
    assert (len(partials), left.given_back, right.given_back) == (0, [], [])  # what is complete pays when it has run


def test_a_duplicate_and_an_older_attempt_count_for_nothing_and_pay_at_once() -> None:
    partials, via = Partials(2), Credit()
    partials.add("r", message("x", attempt=2), via, 0.0)
    assert not partials.add("r", message("x", attempt=2), via, 0.0)
    assert not partials.add("r", message("y", attempt=1), via, 0.0)
    assert len(via.given_back) == 2
    assert len(partials.add("r", message("y", attempt=2), via, 0.0)) == 2


def test_a_newer_attempt_puts_an_older_one_away() -> None:
    partials, via = Partials(2), Credit()
    partials.add("r", message("x", attempt=1), via, 0.0)
    assert not partials.add("r", message("y", attempt=2), via, 0.0)
    assert [frame.header.attempt for frame in via.given_back] == [1]
    assert [one.frame.header.attempt for one in partials.add("r", message("x", attempt=2), via, 0.0)] == [2, 2]


def test_what_nobody_waits_for_is_put_away() -> None:
    partials, via = Partials(2), Credit()
    for number, request in enumerate(("cancelled", "late", "kept", "patient")):
        budget_s = (9.0, 1.0, 9.0, None)[number]
        partials.add(request, message("x", request, budget_s=budget_s), via, 0.0)
    partials.drop("cancelled", 7)  # of another attempt
    assert not via.given_back
    partials.drop("cancelled", 1)
    partials.expire(1.0)
    assert [frame.header.request for frame in via.given_back] == ["cancelled", "late"]
    partials.expire(PATIENCE_S)
    assert len(partials) == 0
    partials.add("r", message("x"), via, 0.0)
    partials.drop_of("another router")
    assert len(partials) == 1
    partials.drop_of("router")
    assert len(partials) == 0
    assert len(via.given_back) == 5


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 3)), max_size=40))
def test_each_message_is_run_or_pays_once_in_any_order(arrivals: Sequence[tuple[str, str, int]]) -> None:
    partials, via, run = Partials(3), Credit(), []
    for request, tensor, attempt in arrivals:
        came = partials.add(request, message(tensor, request, attempt=attempt), via, 0.0)
        run += [one.frame for one in came]
        if came:
            assert {meta.name for one in came for meta in one.frame.header.tensors} == set("xyz")
            assert len({(one.frame.header.request, one.frame.header.attempt) for one in came}) == 1
    partials.clear()
    assert len(run) + len(via.given_back) == len(arrivals)
