"""`isthmus doctor`: what is installed, what clashes, and what to do about it. It changes nothing."""

import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.table import Table

from isthmus.terminal import show, show_json
from nodes.backend import BACKENDS, load_backend
from nodes.errors import EngineMissing

PACKAGES = ("isthmus", "ray", "grpcio", "onnx", "numpy", "igraph", "msgpack", "zstandard", "pillow")
ENGINE_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "apache-tvm", "MNN", "tensorrt-cu13")


def examine(address: str | None, *, as_json: bool) -> int:
    """Print the findings; 1 if something clashes, else 0."""
    findings: dict[str, Any] = {"here": _here(), "nodes": _cluster(address) if address else {}}
    clashes = findings["here"]["clashes"] + [
        f"{node}: {name}: {facts['missing']}"
        for node, worker in findings["nodes"].items()
        for name, facts in worker["engines"].items()
        if "both" in facts.get("missing", "")
    ]
    if as_json:
        show_json(findings | {"clashes": clashes})
        return 1 if clashes else 0
    for name, value in findings["here"].items():
        if isinstance(value, Mapping):
            table = Table(name, "", box=None, pad_edge=True)
            for key, text in value.items():
                table.add_row(key, str(text))
            show(table)
        elif name != "clashes":
            show(f" {name}: {value}")
    for node, worker in findings["nodes"].items():
        engines = ", ".join(f"{name} {facts.get('version', '–')}" for name, facts in worker["engines"].items())
        show(f" node {node}: {worker['address']}, Python {worker['python']}, {worker['cores']} cores, {engines}")
    for clash in clashes:
        show(f"[red]✗[/red] {clash}")
    show("nothing clashes" if not clashes else f"{len(clashes)} to mend")
    return 1 if clashes else 0


def _here() -> dict[str, Any]:
    engines, clashes = {}, []
    for name in BACKENDS:
        try:
            found = load_backend(name).capabilities()
            engines[name] = f"{found.version}: {', '.join(found.devices)}; {', '.join(found.precisions)}"
        except EngineMissing as missing:
            engines[name] = f"missing: {missing}"
            if _version("onnxruntime") and _version("onnxruntime-gpu") and name == "onnxruntime":
                clashes.append(str(missing))
    if not _loopback_works():
        clashes.append("no port can be opened on 127.0.0.1: bring the loopback interface up (ip link set lo up)")
    return {
        "python": f"{platform.python_version()} on {platform.machine()}",
        "packages": {name: _version(name) or "missing" for name in (*PACKAGES, *ENGINE_PACKAGES)},
        "engines": engines,
        "gpu": _gpu(),
        "clashes": clashes,
    }


def _cluster(address: str) -> dict[str, Any]:
    from orchestrator.client import Client

    with Client(address) as client:
        workers: dict[str, Any] = client.status()["workers"]
        return workers


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpu() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "no NVIDIA driver (nvidia-smi is not there)"
    asked = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    return told.stdout.strip() or told.stderr.strip()


def _loopback_works() -> bool:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return True
    except OSError:
        return False
