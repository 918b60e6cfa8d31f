"""Tuning beside what runs: a process of its own on a model, and one for a stage that is already serving untuned.

A stage's tuner gives way to everything else, takes one core, waits until other stages' tuners on this machine are done,
and ends with the process that asked for it. What it finds counts from the next compile on; no session is touched.
"""

import fcntl
import logging
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import nodes
from nodes.backends.tvm.lower import read
from nodes.backends.tvm.records import records_of
from nodes.backends.tvm.targets import TargetSpec
from nodes.cache import model_digest

MODULE = "nodes.backends.tvm.tune_process"
_NICEST = 19
_log = logging.getLogger(__name__)
_serving: list["subprocess.Popen[bytes]"] = []  # this process's tuners, to be reaped


def command(model: Path, *, target: str, trials: int, budget_s: float, threads: int, nice: int) -> list[str]:
    """What starts a tuner; its stdout tells how far it is, one JSON object a line."""
    bounds = ["--trials", str(trials), "--budget-s", str(budget_s)]
    return [sys.executable, "-m", MODULE, str(model), "--target", target, *bounds,
            "--threads", str(threads), "--nice", str(nice)]  # fmt: skip


def environment() -> dict[str, str]:
    """The variables of this process, this package on Python's path wherever the tuner is started."""
    paths = [str(Path(nodes.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def tune_beside(model: bytes | Path, spec: TargetSpec, *, budget_s: float) -> bool:
    """Start a tuner for a stage of this process; False where one for the same model runs already.

    False too where it cannot be started, with a line in the log: the stage serves all the same.
    """
    _serving[:] = [process for process in _serving if process.poll() is None]
    folder = records_of(spec.kind).root / "stages"
    path = folder / f"{sha256(model_digest(model).encode()).hexdigest()[:32]}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _kept(model, path)
            asked = command(path, target=spec.name, trials=0, budget_s=budget_s, threads=1, nice=_NICEST)
            asked += ["--turn", str(folder / ".turn"), "--parent", str(os.getpid())]
            asked += ["--remove", str(path), str(weights_of(path))]
            # It inherits the lock, which so lasts as long as it does.
            _serving.append(
                subprocess.Popen(
                    asked, env=environment(), pass_fds=[lock],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
    except OSError as error:
        _log.warning("cannot start tuning in %s: %s", folder, error.strerror)
        return False
    return True


def weights_of(path: Path) -> Path:
    """Where the weights of a stage's copy lie."""
    return path.with_suffix(".weights")


def _kept(model: bytes | Path, path: Path) -> None:
    """A copy, weights beside it: the stage's own file may go any time."""
    import onnx

    weights_of(path).unlink(missing_ok=True)  # onnx appends
    onnx.save(read(model), path, save_as_external_data=True, location=weights_of(path).name)
