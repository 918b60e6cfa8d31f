"""What processes hold of a machine, from Linux' /proc: processes, threads, descriptors, shared memory, resident memory.

It only looks. A process that ends while it is looked at counts as gone.
"""

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARED = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one process held at a look, or the median of several looks. `kinds`: its open descriptors by kind."""

    threads: float
    descriptors: float
    kinds: Mapping[str, int]
    resident_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Processes by what they are for, how many there are in all, and their shared memory: files and bytes."""

    holdings: Mapping[str, Holding]
    processes: float
    shared: float
    shared_bytes: float


def holding(pid: int) -> Holding | None:
    """What a process holds now; None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        kinds = Counter(kind_of(target) for target in targets(folder / "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    if "VmRSS" not in status:  # it has ended and waits for its parent
        return None
    resident = int(status["VmRSS"].split()[0]) * 1024
    return Holding(
        threads=int(status["Threads"]), descriptors=kinds.total(), kinds=dict(kinds), resident_bytes=resident
    )


def targets(folder: Path) -> list[str]:
    """What the descriptors in /proc/PID/fd lead to."""
    found = []
    for entry in folder.iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue  # closed while we looked
    return found


def kind_of(target: str) -> str:
    """Where a descriptor leads, without what differs from one to the next: socket, pipe, eventpoll, a file's name."""
    if target.startswith("/"):
        return target
    return target.removeprefix("anon_inode:").strip("[]").partition(":")[0]


def shared_files(pids: Iterable[int]) -> dict[str, int]:
    """Bytes of each file in /dev/shm that one of these processes has open or mapped, and of those that nobody has.

    What another program has there is its own; what nobody has any more was left behind.
    """
    wanted, ours, others = set(pids), set[str](), set[str]()
    if not any(SHARED.iterdir()):
        return {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            (ours if int(entry.name) in wanted else others).update(_shared_by(entry))
    sizes = {}
    for path in SHARED.iterdir():
        if str(path) in ours or str(path) not in others:
            try:
                sizes[path.name] = path.stat().st_size
            except FileNotFoundError:
                continue
    return sizes


def _shared_by(process: Path) -> set[str]:
    try:
        maps, opened = (process / "maps").read_text(), targets(process / "fd")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()
    mapped = [line.split(maxsplit=5)[5] for line in maps.splitlines() if f" {SHARED}/" in line]
    return {name for name in (*mapped, *opened) if name.startswith(f"{SHARED}/")}


def look(roles: Mapping[str, int], pids: Iterable[int]) -> Look:
    """One look at the processes that have a role, and at how many there are of all (`pids`)."""
    everyone = list(pids)
    found = {role: holding(pid) for role, pid in roles.items()}
    shared = shared_files(everyone)
    return Look(
        holdings={role: held for role, held in found.items() if held is not None},
        processes=len(everyone),
        shared=len(shared),
        shared_bytes=sum(shared.values()),
    )


def median(looks: Sequence[Look]) -> Look:
    """The middle of several looks, each figure by itself; the kinds of descriptors are those of the last."""
    last = looks[-1]
    middle = statistics.median
    return Look(
        holdings={
            role: _median([one.holdings[role] for one in looks if role in one.holdings]) for role in last.holdings
        },
        processes=middle(one.processes for one in looks),
        shared=middle(one.shared for one in looks),
        shared_bytes=middle(one.shared_bytes for one in looks),
    )


def _median(held: Sequence[Holding]) -> Holding:
    middle = statistics.median
    return Holding(
        threads=middle(one.threads for one in held),
        descriptors=middle(one.descriptors for one in held),
        kinds=held[-1].kinds,
        resident_bytes=middle(one.resident_bytes for one in held),
    )


def total(held: Iterable[Holding]) -> Holding:
    """What several processes hold together."""
    several = list(held)
    return Holding(
        threads=sum(one.threads for one in several),
        descriptors=sum(one.descriptors for one in several),
        kinds=sum((Counter(one.kinds) for one in several), Counter[str]()),
        resident_bytes=sum(one.resident_bytes for one in several),
    )


def slope(values: Sequence[tuple[float, float]]) -> float:
    """The rise of a line laid through points (x, y) by least squares; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in values], [y for _, y in values]).slope
