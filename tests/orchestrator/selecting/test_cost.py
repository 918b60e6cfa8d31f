"""Joules and dollars."""

from pathlib import Path

import pytest

from nodes.selecting.energy import energy_of, read_uj, spent_j
from orchestrator.selecting.price import Price


def package(root: Path, name: str, counted: int | str, wraps: int = 1000) -> None:
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(str(counted))
    (folder / "max_energy_range_uj").write_text(str(wraps))


def test_packages_are_read_and_their_parts_are_not(tmp_path: Path) -> None:
    package(tmp_path, "intel-rapl:0", 5)
    package(tmp_path, "intel-rapl:0:0", 3)
    package(tmp_path, "intel-rapl:1", "")  # as if it may not be read
    assert read_uj(tmp_path) == {"intel-rapl:0": (5, 1000)}


def test_a_counter_that_wrapped_around_went_on() -> None:
    assert spent_j({"a": (900, 999), "b": (1, 999)}, {"a": (100, 999), "b": (3, 999)}) == pytest.approx(202e-6)


def test_without_counters_nothing_is_read(tmp_path: Path) -> None:
    assert spent_j(read_uj(tmp_path), read_uj(tmp_path)) is None


@pytest.mark.parametrize(
    ("rapl_j", "active_w", "on_cpu", "found"),
    [
        (0.5, 20.0, True, (0.5, "rapl")),
        (None, 20.0, True, (0.1, "estimated")),
        (None, None, True, (None, None)),
        (0.5, 20.0, False, (None, None)),
    ],
)
def test_energy_says_where_it_is_from(
    rapl_j: float | None, active_w: float | None, on_cpu: bool, found: tuple[float | None, str | None]
) -> None:
    assert energy_of(rapl_j=rapl_j, cpu_s=0.01, active_w=active_w, cores=2, on_cpu=on_cpu) == found


def test_an_hours_price_is_shared_by_its_answers() -> None:
    assert Price(usd_per_hour=3.6).usd_per_million(1000.0) == pytest.approx(1.0)
    assert Price(usd_per_hour=3.6, utilisation=0.5).usd_per_million(1000.0) == pytest.approx(2.0)


def test_a_purchase_is_paid_off_over_its_years() -> None:
    price = Price(purchase_usd=876.6, years=2, utilisation=0.5)
    assert price.usd_per_million(100.0) == pytest.approx(0.1 / 3600 / 100 * 1e6)
    assert price.told() == "$876.6 over 2 years, busy for 50%"


def test_without_a_price_there_are_no_dollars() -> None:
    assert Price().usd_per_million(10.0) is None
