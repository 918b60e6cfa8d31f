"""The machine's processor as one word: what compiled for it here may be kept for, and no other."""

import platform
from functools import cache
from hashlib import sha256
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@cache
def host_cpu() -> str:
    """The architecture and a digest of the instruction sets that the kernel lists, as "x86_64-1f0c…"."""
    lines = CPUINFO.read_text(errors="replace").splitlines() if CPUINFO.exists() else [platform.processor()]
    sets = {line for line in lines if line.startswith(("flags", "Features", "isa", "model name", "CPU part"))}
    return f"{platform.machine()}-{sha256(chr(10).join(sorted(sets)).encode()).hexdigest()[:16]}"
