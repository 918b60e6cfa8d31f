"""`isthmus tune`: measures how a model's kernels run fastest under TVM on this machine, and keeps what was found.

The work is done by a process of its own, so a kernel that crashes takes nobody along. Everything that it measures is
on record at once: ended at any moment, by Ctrl-C too, nothing is lost, and the next run goes on from there.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.question import Question
from isthmus.terminal import errors, show, show_json
from nodes.errors import CompileError
from orchestrator.model_file import prepare

_END_S = 10.0  # for a tuner that was told to end
Told = dict[str, Any]


def tune_model(
    model: Path, target: str, shapes: Sequence[str], *, trials: int, seconds: float, threads: int, as_json: bool
) -> None:
    """Normalise the model with the shapes given and tune it, until trials or seconds are used up, or Ctrl-C.

    CompileError for a target that is not this machine, or without a bound.
    """
    from nodes.backends.tvm.background import command
    from nodes.backends.tvm.targets import target as known_target
    from nodes.backends.tvm.vendor import check_installed

    check_installed()
    if not trials and not seconds:
        raise CompileError("tuning needs a bound: give --trials, --seconds or both")
    if known_target(target).compiler is not None:
        raise CompileError(f"tvm tunes on the machine itself: run `isthmus tune` on the {target}, not for it from here")
    ready = prepare(Question(model=model, topology=None, shapes=tuple(shapes), samples=(), max_error=0.0).spec())
    asked = command(ready.path, target=target, trials=trials, budget_s=seconds, threads=threads, nice=0)
    with _progress() as tell:
        told, interrupted = _run(asked, tell)
    if as_json:
        show_json({**told, "target": target, "interrupted": interrupted})
        return
    show(f"{'interrupted: ' if interrupted else ''}{_summary(told)}; kept for every later compile of these kernels")


def _run(asked: Sequence[str], tell: Callable[[str], None]) -> tuple[Told, bool]:
    """The tuner's last word, and whether it was ended by Ctrl-C. CompileError with what it says when it fails."""
    from nodes.backends.tvm.background import environment

    told: Told = {"kernels": 0, "trials": 0, "failed": 0, "before_s": 0.0, "after_s": 0.0, "tuning_s": 0.0}
    interrupted = False
    with (
        tempfile.TemporaryFile("w+") as complaints,
        # In a session of its own: Ctrl-C is for this process to act on.
        subprocess.Popen(
            asked, env=environment(), stdout=subprocess.PIPE, stderr=complaints, text=True, start_new_session=True
        ) as tuner,
    ):
        assert tuner.stdout is not None
        try:
            for line in tuner.stdout:
                told = json.loads(line)
                tell(_summary(told))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            _ended(tuner, at_once=interrupted)
        for line in tuner.stdout:  # what it said before it was told to end
            told = json.loads(line)
        complaints.seek(0)
        complaint = complaints.read().strip()
    if not interrupted and tuner.returncode != 0:
        raise CompileError(complaint.splitlines()[-1] if complaint else f"the tuner died of signal {-tuner.returncode}")
    return told, interrupted


def _ended(tuner: "subprocess.Popen[str]", *, at_once: bool) -> None:
    if at_once:
        tuner.terminate()
    try:
        tuner.wait(_END_S)
    except subprocess.TimeoutExpired:
        tuner.kill()


def _summary(told: Told) -> str:
    if not told["trials"]:
        return "nothing was left to try" if told["kernels"] else "no trial yet"
    tried = f"{told['kernels']} kernels, {told['trials']} trials in {told['tuning_s']:.0f} s"
    if not told["after_s"]:
        return f"{tried}, none of which ran"
    return f"{tried}: {told['before_s'] * 1e3:.3g} → {told['after_s'] * 1e3:.3g} ms a run"


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that is told anew, nothing in a pipe."""
    if not errors.is_terminal:
        yield lambda _: None
        return
    with errors.status("tuning") as status:
        yield lambda what: status.update(f"tuning: {what}")
