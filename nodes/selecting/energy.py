"""Joules of a request: read from the processor's counters where they can be read, else estimated, and said to be.

RAPL (Intel SDM vol. 3B, "Package energy status"; Linux's powercap interface) counts microjoules of a whole package,
other processes included, and wraps around at `max_energy_range_uj`. The estimate is processor seconds times the
watts of a core: P_active / cores, the linear model of Fan, Weber, Barroso, "Power provisioning for a warehouse-sized
computer" (ISCA 2007), without its idle part.
"""

from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def read_uj(root: Path = POWERCAP) -> Mapping[str, tuple[int, int]]:
    """Each package's counter and where it wraps, in microjoules; empty where nothing can be read."""
    found = {}
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:
            continue  # a part of a package, which counts it already
        try:
            found[folder.name] = (
                int((folder / "energy_uj").read_text()),
                int((folder / "max_energy_range_uj").read_text()),
            )
        except (OSError, ValueError):
            continue  # root's alone on most machines
    return found


def spent_j(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float | None:
    """Joules of all packages between two readings, at most one wrap apart; None where there is no counter."""
    if not before or set(before) != set(after):
        return None
    return sum((after[name][0] - begun) % (wraps + 1) for name, (begun, wraps) in before.items()) * 1e-6


def energy_of(
    *, rapl_j: float | None, cpu_s: float, active_w: float | None, cores: int, on_cpu: bool
) -> tuple[float | None, str | None]:
    """Joules a request with their source, "rapl" or "estimated"; neither where the node's watts are not known.

    Neither counts an accelerator: for an engine off the processor there is no figure.
    """
    if not on_cpu:
        return None, None
    if rapl_j is not None:
        return rapl_j, "rapl"
    if active_w is None:
        return None, None
    return cpu_s * active_w / cores, "estimated"
