"""Imports go downward only, pure modules stay pure, and a worker loads nothing that a small board lacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"partitioner", "policies", "nodes", "orchestrator", "simulations", "isthmus"}


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a statement brings into a fresh interpreter."""
    code = f"import json, sys; was = set(sys.modules); {statement}; print(json.dumps(sorted(set(sys.modules) - was)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def strangers(names: set[str]) -> set[str]:
    """The names that are neither ours nor the standard library's."""
    return {name for name in names - OURS - sys.stdlib_module_names if not name.startswith("_")}


@pytest.mark.slow
def test_every_import_contract_is_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_worker_loads_numpy_grpc_msgpack_and_prometheus_and_nothing_more() -> None:
    names = loaded_by("import nodes.worker")
    assert strangers(names) <= {"numpy", "grpc", "msgpack", "prometheus_client"}
    assert names & OURS == {"nodes"}


def test_importing_isthmus_loads_nothing_but_itself() -> None:
    names = loaded_by("import isthmus")
    assert names & OURS == {"isthmus"}
    assert strangers(names) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["control", "routing", "events", "instructions"])
def test_a_core_can_be_imported_without_ray_grpc_or_an_engine(name: str) -> None:
    assert not loaded_by(f"import orchestrator.{name}") & {"ray", "grpc", "onnx", "onnxruntime", "openvino"}
