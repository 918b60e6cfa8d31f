import pytest

from tests.benchmarks.quick import figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cost_model_says_the_additive_error_beside_the_fitted_one() -> None:
    found = figures("cost_model")
    fitted = [name for name in found if name.endswith("mean absolute error, fitted")]
    assert fitted
    assert all(found[name]["target"] == 0.1 for name in fitted)
    assert all(found[name.replace("fitted", "additive")]["value"] > 0 for name in fitted)
    assert found["measured segments per model"]["value"] <= 30
    assert found["held-out segments"]["value"] >= 15
