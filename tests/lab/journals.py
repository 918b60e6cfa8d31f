"""Every journal that a lab's controllers wrote, decided again, in two processes whose hashes differ.

A core whose decisions hang on more than its events (a set's order, a clock, a setting) decides otherwise in one of
them. Journals are read where they lie, while they may still be written: a copy of each is what is replayed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.recording import copy_journal

ROOT = Path(__file__).parents[2]
SEEDS = ("1", "2")
WITHIN_S = 240
SHOWN = 600  # characters of each side of a divergence


@contextmanager
def all_replay(*homes: Path) -> Iterator[None]:
    """At the end of the block every journal below these folders must replay as recorded, and there must be one."""
    yield
    found = journals_below(homes)
    assert found, f"no journal was written below {', '.join(map(str, homes))}"
    check(found)


def journals_below(homes: Iterable[Path]) -> list[Path]:
    """Journals in use and those put aside."""
    return sorted(path for home in homes for path in home.rglob("*journal.sqlite"))


def check(paths: Iterable[Path]) -> None:
    """AssertionError that names each journal which is not decided as recorded, with its first divergence."""
    with tempfile.TemporaryDirectory() as folder:
        faults = [fault for path in paths if (fault := _fault_of(path, Path(folder) / "journal.sqlite")) is not None]
    assert not faults, "\n".join(faults)


def _fault_of(path: Path, copy: Path) -> str | None:
    copy_journal(path, copy)
    return fault(path, [_replayed(copy, seed) for seed in SEEDS])


def _replayed(path: Path, seed: str) -> str:
    """What `isthmus replay --json` prints, all of it; AssertionError with its words if it could not."""
    command = [sys.executable, "-P", "-m", "isthmus", "replay", str(path), "--json"]
    environ = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert ran.returncode in (0, 1) and ran.stdout, f"{path}: {ran.stderr.strip() or ran.returncode}"
    return ran.stdout


def fault(path: Path, told: Sequence[str]) -> str | None:
    """What is wrong with a journal by what its replays told: the first divergence, or that they differ."""
    replays = [json.loads(one) for one in told]
    for seed, replay in zip(SEEDS, replays, strict=True):
        if replay["divergences"]:
            first = next(record for record in replay["records"] if record["diverges"])
            return (
                f"{path}: {replay['divergences']} of {replay['decided_again']} records are decided otherwise under "
                f"PYTHONHASHSEED={seed}, the first is {first['seq']}, {first['event']['is']}:\n"
                f"  recorded {_short(first['recorded'])}\n  decided  {_short(first['error'] or first['decided'])}"
            )
    if len(set(told)) > 1:
        numbered = zip(*(replay["records"] for replay in replays), strict=False)
        seq = next((one["seq"] for one, other in numbered if one != other), "none")
        return f"{path}: what is decided differs between PYTHONHASHSEEDs {' and '.join(SEEDS)}, first at record {seq}"
    return None


def _short(value: object) -> str:
    return json.dumps(value)[:SHOWN]
