"""Claims about sending single requests to what stands by while a link is slow."""

from dataclasses import replace

import pytest

from orchestrator.actions import Send
from orchestrator.detour import LOYALTY, Pace, Ways, soonest, way
from orchestrator.links_seen import LinkEstimate
from orchestrator.plan_map import LinkRange, PlanMap
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing
from partitioner.latency_form import Carried, LatencyForm
from policies.routing import Way

ENDS = ("camera", "mec")


def link(mbps: float) -> LinkEstimate:
    return LinkEstimate(source="camera", target="mec", bytes_per_s=mbps * 1e6 / 8, propagation_s=0.001)


def split(mbps: float, *, known_mbps: float = 100.0) -> Way:
    """20 ms of computing and 600 KB over the link, which the router sees at this rate; not at all at 0."""
    form = LatencyForm(fixed_s=0.02, carried=(Carried("camera", "mec", 600_000, 1),))
    seen = {ENDS: link(mbps)} if mbps else {}
    found = way(1, Pace(form=form, stage_s=0.015, links=(link(known_mbps),)), seen)
    assert found is not None
    return found


def device() -> Way:
    """200 ms of computing where the request is."""
    found = way(2, Pace(form=LatencyForm(fixed_s=0.2, carried=()), stage_s=0.2), {})
    assert found is not None
    return found


def choice(split: Way, *ahead: int, loyalty: float = LOYALTY) -> int:
    """Where a request goes with so many in hand in either epoch."""
    return soonest([1, 2], {1: split, 2: device()}, dict(zip((1, 2), ahead, strict=False)), loyalty=loyalty)


@pytest.mark.parametrize(("mbps", "epoch"), [(100, 1), (25, 1), (10, 2), (1, 2)])
def test_a_request_goes_where_it_is_answered_first_under_the_link_as_seen_now(mbps: float, epoch: int) -> None:
    assert choice(split(mbps)) == epoch


def test_where_the_router_has_not_seen_the_link_the_controller_s_word_counts() -> None:
    assert choice(split(0)) == 1
    assert choice(split(0, known_mbps=5)) == 2


def test_requests_ahead_count_on_the_slow_link_and_on_the_device() -> None:
    slow = split(30)  # 160 ms each
    assert choice(slow) == 1
    assert choice(slow, 4) == 2
    assert choice(slow, 4, 4) == 1


def test_another_epoch_must_save_a_share_of_the_time() -> None:
    assert choice(split(22)) == 1  # 239 ms against 200
    assert choice(split(22), loyalty=0.0) == 2


def test_an_epoch_of_which_nothing_is_known_keeps_its_requests() -> None:
    assert way(3, None, {}) is None
    assert soonest([3, 2], {2: device()}, {3: 50}) == 3
    assert soonest([1, 3], {1: split(0.1)}, {}) == 1


def test_a_form_whose_link_nobody_knows_tells_nothing() -> None:
    pace = Pace(form=LatencyForm(fixed_s=0.02, carried=(Carried("camera", "moon", 600_000, 1),)), stage_s=0.015)
    assert way(1, pace, {}) is None


@pytest.mark.parametrize("mbps", [100, 25, 10, 1])
def test_shared_ways_tell_what_is_soonest_for_whichever_epochs_are_healthy(mbps: float) -> None:
    ways = Ways({1: split(mbps), 2: device()})
    for epochs in ([1, 2], [2, 1], [2], [1, 2], [3, 2]):
        assert ways.soonest_when_idle(epochs) == soonest(epochs, ways, {})


def test_one_request_goes_where_it_is_soonest_and_the_next_by_what_is_ahead_of_it() -> None:
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("mec",), outputs=("y",)), 0.0)
    routing.offer(Routes(epoch=2, nodes=("camera",), outputs=("y",)), 0.0)
    routing.learn(Ways({1: split(40), 2: device()}))  # 120 ms each, and 200
    sent = [routing.submit(name, 0.0, 9.0)[0] for name in "abc"]
    assert [one.epoch for one in sent if isinstance(one, Send)] == [1, 1, 2]
    routing.learn(Ways({1: split(5), 2: device()}))
    for name, one in zip("abc", sent, strict=True):
        assert isinstance(one, Send)
        routing.answer(name, one.attempt, ("y",), 1.0)
    (again, *_) = routing.submit("d", 2.0, 9.0)
    assert isinstance(again, Send) and again.epoch == 2


@pytest.mark.parametrize(("jointly", "is_complete"), [(True, True), (False, False)])
def test_a_joint_map_is_complete_wherever_its_links_are_within_their_ranges(jointly: bool, is_complete: bool) -> None:
    drawn = (link(100), LinkEstimate(source="mec", target="camera", bytes_per_s=1e7, propagation_s=0.001))
    ranges = tuple(
        LinkRange(source=one.source, target=one.target, low_bytes_per_s=1e5, high_bytes_per_s=1e8) for one in drawn
    )
    drawn_map = PlanMap(plans=(), links=drawn, ranges=ranges, jointly=jointly)
    slower = tuple(replace(one, bytes_per_s=one.bytes_per_s / 3) for one in drawn)
    assert drawn_map.is_complete_under(slower, 0.25) is is_complete
    assert drawn_map.is_complete_under((slower[0], drawn[1]), 0.25)
    beyond = replace(drawn[0], bytes_per_s=1e4)
    assert not drawn_map.is_complete_under((beyond, drawn[1]), 0.25)
