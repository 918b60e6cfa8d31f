"""What an engine takes of a machine: memory of this process, disk of what is installed, and what its wheels ask for.

An engine's distributions are those whose modules it imported and whose libraries it mapped: nothing keeps a list of
engines here. Linux tells all of it; elsewhere what is not told is zero or left out.
"""

import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from nodes.cache import LISTING, Cache

STATUS, MAPS, CLEAR = Path("/proc/self/status"), Path("/proc/self/maps"), Path("/proc/self/clear_refs")
OURS = frozenset({"isthmus", "numpy", "grpcio", "msgpack", "prometheus-client"})  # there without any engine
# CUDA's release notes, table "CUDA Toolkit and Minimum Required Driver Versions", Linux
CUDA_DRIVERS = {"cu12": "525.60.13", "cu13": "580"}


def resident_bytes() -> int:
    """Memory of this process now; its peak, 0 at worst, where the kernel doesn't tell."""
    return _status("VmRSS") or peak_bytes()


def forget_peak() -> None:
    """Let the peak begin anew, where the kernel can."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return  # then the peak is that of the whole process, which began small


def peak_bytes() -> int:
    """The most memory this process had."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(key: str) -> int:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def compiled(cache: Cache) -> Mapping[Path, tuple[int, int]]:
    """The entries of compiled models: when each was last used, and when it was made, in nanoseconds."""
    if not cache.root.is_dir():
        return {}
    entries = [path for path in cache.root.iterdir() if len(path.name) == 64 and (path / LISTING).is_file()]
    return {path: (path.stat().st_mtime_ns, (path / LISTING).stat().st_mtime_ns) for path in entries}


def used_since(before: Mapping[Path, tuple[int, int]], after: Mapping[Path, tuple[int, int]]) -> tuple[int, bool]:
    """Bytes of the entries made or used between two looks, and whether none of them had to be made."""
    used = [path for path, times in after.items() if before.get(path) != times]
    held = [file for path in used for file in path.rglob("*") if file.is_file()]
    kept = all(path in before and before[path][1] == after[path][1] for path in used)
    return sum(file.stat().st_size for file in held), bool(used) and kept


def distributions_of(modules: Iterable[str], mapped: Iterable[Path]) -> tuple[str, ...]:
    """The installed distributions that these imported modules and mapped files belong to, without our own."""
    owners = metadata.packages_distributions()
    roots = [Path(entry).resolve() for entry in sys.path if entry]
    tops = {name.partition(".")[0] for name in modules}
    files = [path for path in mapped if any(path.is_relative_to(root) for root in roots)]
    found = set()
    for top in tops | {_top(path, roots) for path in files}:
        several = owners.get(top, [])
        if len(several) == 1:
            found.add(several[0])
        else:  # a namespace that many share, such as nvidia
            found |= {name for name in set(several) if _holds(name, files)}
    return tuple(sorted(name for name in found if name.lower() not in OURS))


def mapped_libraries() -> list[Path]:
    """The shared libraries of this process."""
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:
        return []
    named = {line.split(maxsplit=5)[5] for line in lines if line.count("/") and ".so" in line}
    return [Path(name) for name in sorted(named) if name.startswith("/")]


def install_bytes(names: Sequence[str]) -> int:
    """Bytes of the distributions' files."""
    found = 0
    for name in names:
        for file in metadata.files(name) or []:
            path = Path(str(file.locate()))
            found += path.stat().st_size if path.is_file() else 0
    return found


def needs_of(names: Sequence[str]) -> str:
    """What the distributions' wheels ask of a machine: C library, processor, driver; "" if nothing in particular."""
    tags = [line.split(":", 1)[1].strip() for name in names for line in _wheel(name) if line.startswith("Tag:")]
    return "; ".join([*_platforms(tags), *_drivers(names)])


def _platforms(tags: Iterable[str]) -> list[str]:
    """The newest C library asked for: glibc ≥ 2.28, x86_64 of the tag cp311-cp311-manylinux_2_28_x86_64."""
    asked = []
    for tag in tags:
        platform = tag.rsplit("-", 1)[-1]
        words = platform.split("_")
        if words[0] == "manylinux" and len(words) > 3 and words[1].isdigit() and words[2].isdigit():
            asked.append((int(words[1]), int(words[2]), "_".join(words[3:])))
        elif words[0] == "manylinux2014":
            asked.append((2, 17, "_".join(words[1:])))
    if not asked:
        return []
    major, minor, processor = max(asked)
    return [f"glibc ≥ {major}.{minor}, {processor}"]


def _drivers(names: Iterable[str]) -> list[str]:
    kinds = sorted({kind for name in names for kind in CUDA_DRIVERS if name.lower().endswith(f"-{kind}")})
    return [f"NVIDIA driver ≥ {CUDA_DRIVERS[kind]}" for kind in kinds[-1:]]


def _wheel(name: str) -> list[str]:
    return (metadata.distribution(name).read_text("WHEEL") or "").splitlines()


def _top(path: Path, roots: Sequence[Path]) -> str:
    root = max((one for one in roots if path.is_relative_to(one)), key=lambda one: len(one.parts))
    return path.relative_to(root).parts[0].removesuffix(".libs")


def _holds(name: str, files: Iterable[Path]) -> bool:
    wanted = set(files)
    return any(Path(str(file.locate())) in wanted for file in metadata.files(name) or [])
