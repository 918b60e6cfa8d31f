import pytest

from tests.benchmarks.quick import figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_validate_tells_each_case_with_what_was_expected_and_all_hold() -> None:
    found = figures("validate")
    assert [name for name, figure in found.items() if not figure["holds"]] == []
    assert all("expected" in name and "got" in name and figure["target"] is not None for name, figure in found.items())
    assert len(found) >= 50 and sum(figure["unit"] == "sd" for figure in found.values()) >= 14


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(300)
def test_simulator_compares_with_simpy_and_fits_how_cost_grows() -> None:
    pytest.importorskip("simpy")
    found = figures("simulator")
    assert all(figure["holds"] for name, figure in found.items() if "mean sojourn off" in name)
    assert sum(name.endswith("/ SimPy") for name in found) == 3
    assert sum("exponent" in name for name in found) == 3
    assert any(name.startswith("1,000 UEs × 1 h") for name in found)
