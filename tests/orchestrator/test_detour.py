"""Claims about sending single requests to what stands by while a link is slow."""

import pytest

from orchestrator.detour import LOYALTY, Pace, soonest, way
from orchestrator.links_seen import LinkEstimate
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
