"""Runs a cell's process, for so long at most, and tells how it ended: answered, over its time, crashed by a signal.

Whatever happens to the process, a value comes back; only the caller's own interruption (Ctrl-C) is raised, after the
process and what it started were killed.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from orchestrator.plain import from_plain, to_plain
from orchestrator.selecting.cells import CRASHED, FAILED, OVER_TIME, RAN, Measured
from orchestrator.selecting.exchange import Request, Told

COMMAND = (sys.executable, "-P", "-m", "orchestrator.selecting.cell_process")
HOME = str(Path(__file__).resolve().parents[2])  # where our packages lie side by side
TYPES = {"Measured": Measured, "Told": Told}

Ask = Callable[[Request, float], Measured | Told]


def ask(request: Request, limit_s: float, command: Sequence[str] = COMMAND) -> Measured | Told:
    """What the process of `request` said, within `limit_s` seconds."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([HOME, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        # A session of its own: Ctrl-C reaches us alone, and whatever the engine starts can be ended with it.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=said, stderr=complained, env=environment, start_new_session=True
        )
        over = False
        try:
            process.communicate(json.dumps(to_plain(request)).encode(), timeout=limit_s)
        except subprocess.TimeoutExpired:
            over = True
        finally:
            _end(process)
        found = _last(said)
        if over:
            return _after(request, found, OVER_TIME, f"over its time limit of {limit_s:.0f} s", limit_s)
        if process.returncode < 0:
            return _after(request, found, CRASHED, f"crashed: {_signal(-process.returncode)}", limit_s)
        if found is None or process.returncode:
            return _after(request, found, FAILED, f"its process failed: {_words(complained)}", limit_s)
        return found


def _after(request: Request, found: Measured | Told | None, state: str, reason: str, limit_s: float) -> Measured | Told:
    """A process that did not end well: what it had measured by then counts."""
    if not request.folder:
        return found or Told(backend=request.cell.backend, missing=f"{request.cell.backend}: {reason}")
    if isinstance(found, Measured) and found.state == RAN:
        return replace(found, reason=f"{reason}, after these figures")
    return Measured(state=state, reason=reason, limit_s=limit_s)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process's whole session, then reap it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _last(said: IO[bytes]) -> Measured | Told | None:
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            found: Measured | Told = from_plain(json.loads(line), TYPES)
        except ValueError:
            continue  # cut off when it was killed
        return found
    return None


def _words(complained: IO[bytes]) -> str:
    complained.seek(0)
    lines = [line.strip() for line in complained.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
