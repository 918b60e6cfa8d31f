"""Public clients against the gateway, unmodified, in environments of their own: tritonclient, the KServe SDK, and
perf_analyzer, the load generator that tritonclient's 2.40 wheel brings.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from orchestrator.gateway.messages import message
from tests.orchestrator.gateway.served import Served

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
KEPT = ROOT / ".cache" / "clients"
TRITON = ("tritonclient[grpc,http]==2.73.0",)
KSERVE = ("kserve==0.21.0",)
PERF = ("tritonclient==2.40.0", "nvidia-cuda-runtime-cu12==12.9.79")
UV = shutil.which("uv", path=os.pathsep.join([f"{sys.prefix}/bootstrap/bin", f"{sys.prefix}/bin", os.environ["PATH"]]))
STORIES = ("grpc_sync", "grpc_stream", "http_sync", "aio", "memory")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(UV is None, reason="uv is not installed (make setup brings it)")]


def environment(requirements: Sequence[str], *, alone: bool = False) -> Path:
    """A folder with these installed, made once: a virtual environment or, `alone`, only what is named."""
    folder = KEPT / hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:12]
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            if alone:
                uv("pip", "install", "-q", "--no-deps", "--target", str(folder), *requirements)
            else:
                uv("venv", "-q", "--python", os.path.realpath(sys.executable), str(folder))
                uv("pip", "install", "-q", "--python", str(folder / "bin/python"), *requirements)
            (folder / "made").touch()
    return folder


def uv(*arguments: str) -> None:
    done = subprocess.run([UV or "uv", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(*command: str | Path, **environ: str) -> str:
    """What it prints; it must end well."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, env=own | environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def triton() -> Path:
    return environment(TRITON) / "bin/python"


@pytest.mark.parametrize("story", STORIES)
def test_tritonclient_is_served(served: Served, triton: Path, story: str) -> None:
    run(triton, HERE / "foreign_clients.py", story, served.grpc, served.http)


def test_the_kserve_sdk_is_served(served: Served) -> None:
    run(environment(KSERVE) / "bin/python", HERE / "foreign_kserve.py", served.grpc, served.http)


def test_our_messages_are_those_of_tritonclient(triton: Path) -> None:
    told: dict[str, dict[str, list[Any]]] = json.loads(run(triton, HERE / "foreign_schema.py"))
    for name, fields in told.items():
        try:
            ours = message(name).DESCRIPTOR
        except KeyError:
            continue  # not served here
        for field in ours.fields:
            assert [field.number, field.type, field.is_repeated] == fields[field.name], f"{name}.{field.name}"
    assert {"ModelInferRequest", "ModelInferResponse", "ModelConfig", "ModelStatistics"} <= set(told)


@pytest.mark.skipif(
    "CI" not in os.environ and find_library("b64") is None, reason="libb64 is not installed (Debian: libb64-0d)"
)
@pytest.mark.parametrize(("protocol", "load"), [("grpc", "--concurrency-range=2"), ("http", "--request-rate-range=50")])
def test_perf_analyzer_runs_to_its_end(served: Served, tmp_path: Path, protocol: str, load: str) -> None:
    folder = environment(PERF, alone=True)
    program = folder / "bin" / "perf_analyzer"
    libraries = str(folder / "nvidia" / "cuda_runtime" / "lib")
    url = served.grpc if protocol == "grpc" else served.http
    measured = tmp_path / "measured.csv"
    said = run(
        program, "-m", "float32", "-u", url, "-i", protocol, "--shape", "x:1,2", load, "-p", "500", "-s", "90",
        "-f", measured, LD_LIBRARY_PATH=libraries,
    )  # fmt: skip
    assert "Successful request count" in said
    header, row = (line.split(",") for line in measured.read_text().strip().splitlines()[:2])
    assert float(row[header.index("Inferences/Second")]) > 10
