"""Traces of links: what they carry is the rate's integral, when bits are through its inverse; bad ones are named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.errors import BadTrace
from simulations.traces.link_trace import LinkTrace


def trace(at_s: list[float], mbps: list[float], length_s: float) -> LinkTrace:
    return LinkTrace("t", np.array(at_s, float), np.array(mbps) * 1e6, length_s)


STEPS = trace([0, 1, 3], [8, 0, 2], 4)  # 8 Mbit, a silence of 2 s, 2 Mbit


def test_rates_hold_until_the_next_entry_and_begin_anew() -> None:
    assert STEPS.rate([0, 0.99, 1, 2.9, 3, 3.9, 4, 9]).tolist() == [8e6, 8e6, 0, 0, 2e6, 2e6, 8e6, 0]
    assert STEPS.mean_bits_per_s == 2.5e6


def test_what_is_carried_is_the_integral_of_the_rate() -> None:
    assert STEPS.bits_until([0, 0.5, 1, 2, 3.5, 4, 4.5, 12]) == pytest.approx(
        [0, 4e6, 8e6, 8e6, 9e6, 10e6, 14e6, 30e6], rel=1e-12
    )


def test_bits_are_through_as_soon_as_they_are_carried_and_wait_for_silences() -> None:
    assert STEPS.through_s([0, 0, 0, 1, 3.5], [8e6, 8.5e6, 10e6, 1e6, 1e6]) == pytest.approx([1, 3.25, 4, 3.5, 4])
    assert STEPS.through_s(3.5, 5e6) == pytest.approx(4.5)
    assert STEPS.through_s([0.3, 2.0], 0.0) == pytest.approx([0.3, 2.0])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_until_bits_are_through_just_as_many_are_carried(data: st.DataObject) -> None:
    spans = data.draw(st.lists(st.floats(0.01, 5), min_size=1, max_size=8))
    mbps = data.draw(
        st.lists(st.floats(0, 50), min_size=len(spans), max_size=len(spans)).filter(lambda r: max(r) > 0.1)
    )
    edges = np.append(0.0, np.cumsum(spans))
    made = trace(edges[:-1].tolist(), mbps, float(edges[-1]))
    from_s, bits = data.draw(st.floats(0, 40)), data.draw(st.floats(1.0, 1e9))
    done_s = made.through_s(from_s, bits)
    assert made.bits_until(done_s) - made.bits_until(from_s) == pytest.approx(bits, rel=1e-9, abs=1e-3)
    assert done_s >= from_s


def test_gaps_are_counted() -> None:
    assert trace([0, 1, 2, 7, 8, 20], [1] * 6, 21).gaps == 2
    assert STEPS.gaps == 0


@pytest.mark.parametrize(
    ("at_s", "mbps", "length_s", "said"),
    [
        ([0, 2, 1], [1, 1, 1], 4, "trace t: entry 2 at 1 s is not after 2 s"),
        ([0, 1], [1, -1], 2, "entry 1 has the rate -1e"),
        ([0, 1], [1, float("nan")], 2, "entry 1 has the rate nan"),
        ([0, 1], [1, 1], 1, "ends at 1 s, with an entry at 1 s"),
        ([1, 2], [1, 1], 3, "begins at 1 s"),
        ([0], [0], 1, "nothing is ever carried"),
        ([], [], 1, "0 times and 0 rates"),
    ],
)
def test_what_can_be_no_trace_is_named_with_its_entry(
    at_s: list[float], mbps: list[float], length_s: float, said: str
) -> None:
    with pytest.raises(BadTrace, match=said):
        trace(at_s, mbps, length_s)
