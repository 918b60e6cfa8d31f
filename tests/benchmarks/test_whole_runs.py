import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.quick import ROOT, figures
from tests.contracts.backend_models import zoo_model


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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_multimodal_serves_every_plan_and_its_joint_plan_is_predicted_no_worse() -> None:
    zoo_model("whisper_encoder")
    found = figures("multimodal", "notes")
    assert sum(name.endswith(": p50") for name in found) == 9  # three networks, three plans each
    for other in ("whole branches", "all at the cloud"):
        told = found[f"notes: joint over {other}, latency predicted"]
        assert told["holds"]
        assert told["spread"][0] > 0


def instance(**changes: object) -> str:
    node = {"cpuLatency": 10.0, "size": 5.0, "supportedOnFpga": 1, "isBackwardNode": 0, "colorClass": None}
    nodes = [node | {"id": number, "fpgaLatency": seconds} for number, seconds in ((4, 1.0), (5, 2.0), (6, 3.0))]
    edges = [{"sourceId": a, "destId": a + 1, "cost": 0.5} for a in (4, 5)]
    return json.dumps({"maxSizePerFPGA": 50.0, "maxFPGAs": 2, "maxCPUs": 1, "nodes": nodes, "edges": edges} | changes)


@pytest.mark.slow
def test_planner_tells_of_every_instance_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(instance())
    (tmp_path / "full.json").write_text(instance(maxSizePerFPGA=1.0, maxCPUs=0))
    (tmp_path / "bad.json").write_text("[")
    command = [sys.executable, "benchmarks/planner.py", str(tmp_path), "--json"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    bad, full, good = json.loads(ran.stdout)
    assert "not JSON" in bad["error"]
    assert full["error"].startswith("memory: ")
    assert good["optimal"]
    assert good["max_load"] == good["lower_bound"] == 3.5
    assert good["assignment"] == {"4": "acc0", "5": "acc0", "6": "acc1"}


@pytest.mark.slow
def test_planner_proves_the_optimum_of_made_instances() -> None:
    assert all("optimum proven" in name for name in figures("planner"))


@pytest.mark.slow
def test_atlas_proves_the_plans_of_every_model_that_can_be_built() -> None:
    found = [name for name in figures("atlas") if ": atlas of" in name]
    assert len(found) >= 2
    assert all("proven" in name for name in found)


@pytest.mark.slow
def test_objectives_are_all_answered_and_told_with_their_gaps() -> None:
    found = figures("objectives")
    gaps = [figure["value"] for name, figure in found.items() if "largest gap" in name]
    assert len(gaps) == 8
    assert all(0 <= gap < 100 for gap in gaps)


@pytest.mark.slow
def test_routing_costs_least_where_nothing_is_to_be_chosen() -> None:
    found = {name: figure["value"] for name, figure in figures("routing").items() if name.startswith("a request: ")}
    chosen = [value for name, value in found.items() if "replicas" in name or "stands by" in name]
    assert len(chosen) == 2
    assert 0 < found["a request: one epoch, one request at a time"] < min(chosen)
