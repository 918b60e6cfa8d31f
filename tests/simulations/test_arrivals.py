"""Arrivals: as many and as bursty as their process says, the same by seed, recorded ones to the digit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simulations.arrivals import Arrivals, Diurnal, OnOff, Poisson, Recorded, read_arrivals
from simulations.errors import BadTrace, OutOfRange

Draw = np.random.Generator


def counts(source: Arrivals, windows: int, each_s: float) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Arrivals in windows that follow each other; all lie in theirs, in order."""
    found = []
    for number in range(windows):
        at_s = source.window(number * each_s, (number + 1) * each_s)
        assert (np.diff(at_s) >= 0).all() and ((at_s >= number * each_s) & (at_s < (number + 1) * each_s)).all()
        found.append(len(at_s))
    return np.array(found)


def test_poisson_counts_have_their_mean_for_variance() -> None:
    seen = counts(Poisson(20.0, np.random.default_rng(1)), 4000, 1.0)
    assert seen.mean() == pytest.approx(20, abs=4 * np.sqrt(20 / 4000))
    assert seen.var() == pytest.approx(20, abs=4 * 20 * np.sqrt(2 / 4000))


def test_on_and_off_is_as_bursty_as_the_formula_says() -> None:
    source = OnOff(50.0, np.random.default_rng(2), on_s=2.0, off_s=3.0)
    seen = counts(source, 600, 200.0)
    mean = 50 * 0.4 * 200
    begin, end = 1 / 3, 1 / 2  # rates of going on and off
    variance = mean + 2 * 50**2 * begin * end / (begin + end) ** 3 * 200 * (1 - 1 / (200 * (begin + end)))
    assert source.mean_per_s == 20
    assert seen.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 600))
    assert seen.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 600))


def test_a_day_has_its_peak_and_its_trough_and_its_mean() -> None:
    source = Diurnal(10.0, np.random.default_rng(3), swing=0.8, period_s=100.0, peak_s=25.0)
    seen = counts(source, 5000, 1.0).reshape(-1, 100).sum(axis=0)
    assert seen.sum() == pytest.approx(50_000, abs=4 * np.sqrt(50_000))
    assert seen[20:30].mean() == pytest.approx(50 * 18, rel=0.04)
    assert seen[70:80].mean() == pytest.approx(50 * 2, rel=0.12)


@pytest.mark.parametrize(
    "made",
    [
        lambda draw: Poisson(5.0, draw),
        lambda draw: Diurnal(5.0, draw, swing=0.5),
        lambda draw: OnOff(5.0, draw, on_s=1.0, off_s=1.0),
    ],
    ids=["poisson", "diurnal", "on-off"],
)
def test_the_seed_tells_all(made: Callable[[Draw], Arrivals]) -> None:
    first, again, other = (made(np.random.default_rng(seed)).window(0, 100).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_records_begin_anew_and_windows_cut_them_nowhere_twice() -> None:
    source = Recorded(np.array([0.0, 0.25, 0.25, 1.5]), 2.0)
    whole = source.window(0, 6)
    assert whole.tolist() == [0, 0.25, 0.25, 1.5, 2, 2.25, 2.25, 3.5, 4, 4.25, 4.25, 5.5]
    cut = np.concatenate([source.window(0, 0.25), source.window(0.25, 2.25), source.window(2.25, 6)])
    assert cut.tolist() == whole.tolist()
    assert source.mean_per_s == 2


def test_azure_s_times_are_read_to_the_tenth_of_a_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "code.csv"
    path.write_text("TIMESTAMP,ContextTokens\n2023-11-16 18:59:59.9799600,1\n2023-11-16 19:00:00.0319601,2\n")
    assert read_arrivals(path).window(0, 0.1).tolist() == pytest.approx([0, 0.0520001], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.5\n2\nthree\n", "line 3: 'three' is no time"),
        ("1.5\n2\n1\n", "line 3: goes back in time by 1 s"),
        ("1.5\nnan\n3\n", "line 2: 'nan' is no time"),
        ("1.5\n2\ninf\n", "line 3: 'inf' is no time"),
        ("0\n1e-7\n", "1e\\+07 arrivals a second; at most 1,000,000"),
        ("1.5\n", "1 arrivals; it needs two"),
        ("TIMESTAMP\nnoon\n2023-11-16 18:59:59\n", "line 2: 'noon' is no time"),
    ],
)
def test_what_cannot_be_read_is_named_by_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(BadTrace, match=rf"log.csv.*{said}"):
        read_arrivals(path)


def test_quantities_that_cannot_be_are_refused() -> None:
    draw = np.random.default_rng(1)
    with pytest.raises(OutOfRange, match="requests a second: 0; must be above 0"):
        Poisson(0, draw)
    with pytest.raises(OutOfRange, match="off_s: -1; must be above 0"):
        OnOff(1, draw, on_s=1, off_s=-1)
    with pytest.raises(OutOfRange, match=r"swing 1.5: a share"):
        Diurnal(1, draw, swing=1.5)
