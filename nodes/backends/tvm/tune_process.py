"""Tuning as a process of its own, which gives way to all others: `python -m nodes.backends.tvm.tune_process MODEL`.

It writes records as it goes, so it may be ended at any moment; whoever compiles afterwards profits from what it found.
One JSON object a line on stdout tells how far it is, the last one what was reached.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nodes.backends.tvm.targets import target
from nodes.backends.tvm.tuning import Tuned, tune
from nodes.backends.tvm.vendor import tvm
from nodes.errors import NodesError


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune the model that the command line names; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="tune_process", description="Tune a model's kernels for this machine.")
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--trials", type=int, default=0, help="schedules per kernel, those on record counted; 0: no bound"
    )
    parser.add_argument("--budget-s", type=float, default=120.0, help="seconds at most; 0: no bound")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nice", type=int, default=10, help="how much to give way to other processes, 0 to 19")
    given = parser.parse_args(arguments)
    os.nice(given.nice)
    try:
        tvm()
        tuned = tune(
            given.model,
            target("host"),
            trials=given.trials,
            budget_s=given.budget_s,
            threads=given.threads,
            on_progress=_tell,
        )
    except NodesError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _tell(tuned)
    return 0


def _tell(tuned: Tuned) -> None:
    sys.stdout.write(json.dumps(asdict(tuned)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
