"""Tuning as a process of its own, which gives way to all others: `python -m nodes.backends.tvm.tune_process MODEL`.

It writes records as it goes, so it may be ended at any moment; whoever compiles afterwards profits from what it found.
One JSON object a line on stdout tells how far it is, the last one what was reached.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from nodes.backends.tvm.targets import target
from nodes.backends.tvm.tuning import Tuned, tune
from nodes.backends.tvm.vendor import tvm
from nodes.errors import NodesError

_LOOK_AGAIN_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the model that the command line names; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="tune_process", description="Tune a model's kernels for this machine.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--target", default="host", help="host, or the core that the records are for")
    parser.add_argument(
        "--trials", type=int, default=0, help="schedules per kernel, those on record counted; 0: no bound"
    )
    parser.add_argument("--budget-s", type=float, default=120.0, help="seconds at most; 0: no bound")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nice", type=int, default=10, help="how much to give way to other processes, 0 to 19")
    parser.add_argument("--turn", type=Path, help="a file: wait for its lock first")
    parser.add_argument("--remove", type=Path, nargs="+", default=[], help="files to remove at the end")
    parser.add_argument("--parent", type=int, help="process that must be the parent: end when it is no more")
    given = parser.parse_args(arguments)
    os.nice(given.nice)
    check = partial(_end_with, given.parent)

    def tell(so_far: Tuned) -> None:
        check()
        _tell(so_far)

    try:
        if given.turn:
            _take_turn(given.turn, check)
        tvm()
        tuned = tune(
            given.model,
            target(given.target),
            trials=given.trials,
            budget_s=given.budget_s,
            threads=given.threads,
            on_progress=tell,
        )
    except NodesError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        for path in given.remove:
            path.unlink(missing_ok=True)
    _tell(tuned)
    return 0


def _end_with(parent: int | None) -> None:
    """End this process if another is its parent now."""
    if parent is not None and os.getppid() != parent:
        sys.exit(0)


def _take_turn(path: Path, check: Callable[[], None]) -> None:
    """Wait until no other tuner has the file's lock, which is then held to the end of this process."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        check()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_LOOK_AGAIN_S)


def _tell(tuned: Tuned) -> None:
    sys.stdout.write(json.dumps(asdict(tuned)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
