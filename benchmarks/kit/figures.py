"""How every benchmark says what it found: one JSON object, or a table for people.

It measures nothing but the machine, and judges only by each figure's own target.
"""

import json as jsonlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

Better = Literal["lower", "higher"]
PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "igraph", "grpcio", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. `spread` is the smallest and largest seen; a figure without a target always holds."""

    name: str
    value: float
    unit: str
    target: float | None
    better: Better
    holds: bool
    spread: tuple[float, float] | None


def figure(
    name: str,
    value: float,
    unit: str,
    target: float | None = None,
    better: Better = "lower",
    spread: tuple[float, float] | None = None,
) -> Figure:
    """A figure, judged: at or below its target where lower is better, at or above it where higher is."""
    holds = target is None or (value <= target if better == "lower" else value >= target)
    return Figure(name=name, value=value, unit=unit, target=target, better=better, holds=holds, spread=spread)


def report(benchmark: str, figures: Iterable[Figure], json: bool) -> None:
    """Print the figures to stdout: one JSON object, or a table. Whether targets hold changes no exit status."""
    found = list(figures)
    if json:
        whole = {"benchmark": benchmark, "machine": machine(), "figures": [asdict(one) for one in found]}
        print(jsonlib.dumps(whole, indent=2))
        return
    _print_table(benchmark, found)


def machine() -> Mapping[str, object]:
    """CPU model, cores usable by this process, memory in GB, versions of what was timed."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages / 1e9, 1),
        "versions": versions,
    }


def _cpu() -> str:
    """Model name from the kernel; the architecture where it tells none, as on many ARM boards."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _print_table(benchmark: str, figures: list[Figure]) -> None:
    about = machine()
    table = Table(title=benchmark, caption=f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB")
    for heading in ("figure", "value", "spread", "target", "holds"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for one in figures:
        spread = "" if one.spread is None else f"{one.spread[0]:.4g} – {one.spread[1]:.4g}"
        sign = "≤" if one.better == "lower" else "≥"
        target = "" if one.target is None else f"{sign} {one.target:g}"
        holds = "" if one.target is None else ("yes" if one.holds else "NO")
        table.add_row(one.name, f"{one.value:.4g} {one.unit}", spread, target, holds)
    Console().print(table)
