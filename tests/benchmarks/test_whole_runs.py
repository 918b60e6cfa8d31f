import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures(name: str) -> dict[str, Any]:
    """What a benchmark's quick run prints as JSON, by figure."""
    command = [sys.executable, f"benchmarks/{name}.py", "--quick", "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    return {figure["name"]: figure for figure in json.loads(ran.stdout)["figures"]}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_prediction_tries_enough_combinations_and_names_the_worst() -> None:
    found = figures("prediction")
    assert found["combinations"]["holds"]
    assert found["share that is half compute or more"]["holds"]
    assert any(name.startswith("worst: ") for name in found)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pipeline_compares_with_what_binds_and_with_ray_serve() -> None:
    pytest.importorskip("ray.serve")
    found = figures("pipeline")
    assert sum(name.endswith("throughput over bound") for name in found) == 5
    assert found["hop overhead over Ray Serve's"]["value"] > 0
