"""Traces drawn like others: as fast, as varied and as lasting as their source, by the seed, silences included."""

import numpy as np
import pytest

from simulations.errors import BadTrace, OutOfRange
from simulations.traces.link_trace import Floats, LinkTrace
from simulations.traces.markov import autocorrelation, fit, lasting, likeness, stepped


def source(seconds: int = 20_000, memory: float = 0.9, seed: int = 3) -> LinkTrace:
    """A rate whose logarithm forgets exponentially, with silences of some seconds."""
    draw = np.random.default_rng(seed)
    state, rates = 0.0, np.empty(seconds)
    for second in range(seconds):
        state = memory * state + np.sqrt(1 - memory**2) * draw.standard_normal()
        rates[second] = 0.0 if state < -1.5 else 20e6 * np.exp(0.7 * state)
    return LinkTrace("drive", np.arange(seconds, dtype=np.float64), rates, float(seconds))


def test_a_drawn_trace_is_like_its_source() -> None:
    original = source()
    drawn = fit(original).draw(20_000, np.random.default_rng(1))
    told = likeness(original, drawn)
    assert told.distribution < 0.04 and abs(told.mean) < 0.05
    assert max(map(abs, told.autocorrelation)) < 0.1
    assert (drawn.bits_per_s == 0).mean() == pytest.approx((original.bits_per_s == 0).mean(), abs=0.02)


def test_what_lasts_for_minutes_is_kept_where_the_source_has_it() -> None:
    places, fast = np.repeat([2e6, 30e6, 8e6, 60e6] * 10, 60), source(2400, memory=0.3).bits_per_s / 20e6
    drive = LinkTrace("places", np.arange(2400, dtype=np.float64), places * (0.5 + fast), 2400.0)
    told = likeness(drive, fit(drive).draw(40_000, np.random.default_rng(1)))
    assert max(map(abs, told.autocorrelation)) < 0.15


def test_a_model_tells_its_autocorrelation_without_drawing() -> None:
    model = fit(source())
    drawn = model.draw(60_000, np.random.default_rng(5))
    for lag in (1, 5):
        assert model.autocorrelation(lag) == pytest.approx(autocorrelation(drawn.bits_per_s, lag), abs=0.03)


def test_what_follows_what_is_kept_and_not_only_how_often_it_comes() -> None:
    quick, slow = (fit(source(memory=memory)).draw(20_000, np.random.default_rng(1)) for memory in (0.2, 0.95))
    assert autocorrelation(quick.bits_per_s, 1) < 0.3 and autocorrelation(slow.bits_per_s, 1) > 0.8


def test_the_seed_tells_all() -> None:
    model = fit(source(2000))
    first, again, other = (model.draw(500.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.bits_per_s.tolist() == again.bits_per_s.tolist() != other.bits_per_s.tolist()
    assert first.length_s == 501


def test_a_chain_s_shares_are_those_it_returns_to() -> None:
    follows: Floats = np.array([[0.9, 0.1], [0.3, 0.7]])
    assert lasting(follows) == pytest.approx([0.75, 0.25])


def test_steps_carry_what_the_trace_does() -> None:
    made = LinkTrace("t", np.array([0.0, 1.5]), np.array([2e6, 4e6]), 4.0)
    assert stepped(made, 1.0) == pytest.approx([2e6, 3e6, 4e6, 4e6])


def test_a_trace_that_never_changes_is_drawn_as_it_is() -> None:
    flat = LinkTrace("flat", np.arange(60, dtype=np.float64), np.full(60, 5e6), 60.0)
    assert set(fit(flat).draw(30, np.random.default_rng(1)).bits_per_s) == {5e6}


def test_a_trace_drawn_within_a_silence_carries_something_at_its_begin() -> None:
    rates = np.concatenate([np.zeros(60), np.full(60, 4e6)])
    model = fit(LinkTrace("half", np.arange(120, dtype=np.float64), rates, 120.0), levels=1)
    firsts = [model.draw(1, np.random.default_rng(seed)).bits_per_s.tolist() for seed in range(20)]
    assert [2e6] in firsts and [4e6] in firsts


def test_too_short_a_source_and_no_length_are_refused() -> None:
    with pytest.raises(BadTrace, match="trace drive: 49 steps of 1 s; a model needs 50"):
        fit(source(49))
    with pytest.raises(OutOfRange, match="a trace of 0 s"):
        fit(source(60)).draw(0, np.random.default_rng(1))
