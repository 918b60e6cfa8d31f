"""Claims about sending single requests to what stands by while a link is slow."""

import pytest

from orchestrator.detour import Choice, Pace, soonest
from orchestrator.links_seen import LinkEstimate
from partitioner.latency_form import Carried, LatencyForm

ENDS = ("camera", "mec")


def link(mbps: float) -> LinkEstimate:
    return LinkEstimate(source="camera", target="mec", bytes_per_s=mbps * 1e6 / 8, propagation_s=0.001)


def split(in_hand: int = 0, *, known_mbps: float = 100.0) -> Choice:
    """20 ms of computing and 600 KB over the link."""
    form = LatencyForm(fixed_s=0.02, carried=(Carried("camera", "mec", 600_000, 1),))
    return Choice(epoch=1, pace=Pace(form=form, stage_s=0.015, links=(link(known_mbps),)), in_hand=in_hand)


def device(in_hand: int = 0) -> Choice:
    """200 ms of computing where the request is."""
    return Choice(epoch=2, pace=Pace(form=LatencyForm(fixed_s=0.2, carried=()), stage_s=0.2), in_hand=in_hand)


@pytest.mark.parametrize(("mbps", "epoch"), [(100, 1), (25, 1), (10, 2), (1, 2)])
def test_a_request_goes_where_it_is_answered_first_under_the_link_as_seen_now(mbps: float, epoch: int) -> None:
    assert soonest([split(), device()], {ENDS: link(mbps)}) == epoch


def test_where_the_router_has_not_seen_the_link_the_controller_s_word_counts() -> None:
    assert soonest([split(), device()], {}) == 1
    assert soonest([split(known_mbps=5), device()], {}) == 2


def test_requests_ahead_count_on_the_slow_link_and_on_the_device() -> None:
    slow = {ENDS: link(30)}  # 160 ms each
    assert soonest([split(), device()], slow) == 1
    assert soonest([split(in_hand=4), device()], slow) == 2
    assert soonest([split(in_hand=4), device(in_hand=4)], slow) == 1


def test_another_epoch_must_save_a_share_of_the_time() -> None:
    assert soonest([split(), device()], {ENDS: link(22)}) == 1  # 239 ms against 200
    assert soonest([split(), device()], {ENDS: link(22)}, loyalty=0.0) == 2


def test_an_epoch_of_which_nothing_is_known_keeps_its_requests() -> None:
    unknown = Choice(epoch=3, pace=None, in_hand=50)
    assert soonest([unknown, device()], {}) == 3
    assert soonest([split(), unknown], {ENDS: link(0.1)}) == 1
