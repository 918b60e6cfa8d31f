"""Which machine this is, as far as figures depend on it."""

import os
import platform
from pathlib import Path


def machine_label() -> str:
    """The machine as far as figures depend on it: processor, usable cores, memory, and how it is wired."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    model = models[0] if models else platform.processor() or "unknown"
    return f"{model}, {platform.machine()}, {usable_cores()} cores, {memory_gb:.0f} GB"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
