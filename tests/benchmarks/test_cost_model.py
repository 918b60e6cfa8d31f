import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cost_model_says_the_additive_error_beside_the_fitted_one() -> None:
    command = [sys.executable, "benchmarks/cost_model.py", "--quick", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    found = {figure["name"]: figure for figure in json.loads(ran.stdout)["figures"]}
    fitted = [name for name in found if name.endswith("mean absolute error, fitted")]
    assert fitted
    assert all(found[name]["target"] == 0.1 for name in fitted)
    assert all(found[name.replace("fitted", "additive")]["value"] > 0 for name in fitted)
    assert found["measured segments per model"]["value"] <= 30
    assert found["held-out segments"]["value"] >= 15
