"""Runs a cell's process, for so long at most, and tells how it ended: answered, over its time, crashed by a signal.

Whatever happens to the process, a value comes back; only the caller's own interruption (Ctrl-C) is raised, after the
process and what it started were killed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from nodes.selecting.cells import CRASHED, FAILED, OVER_TIME, RAN, Measured
from nodes.selecting.exchange import Request, Said, Told, said_from, to_map

COMMAND = (sys.executable, "-P", "-m", "nodes.selecting.process")
HOME = str(Path(__file__).resolve().parents[2])  # where our packages lie side by side

Ask = Callable[[Request, float], Said]


def ask(request: Request, limit_s: float, command: Sequence[str] = COMMAND) -> Said:
    """What the process of `request` said, within `limit_s` seconds."""
    return Running(request, command).wait(limit_s)


class Running:
    """A cell's process, begun: `wait` for what it says, once. `end` may be called from another thread meanwhile."""

    def __init__(self, request: Request, command: Sequence[str] = COMMAND) -> None:
        self._request = request
        self._files = ExitStack()
        given, self._said, self._complained = (self._files.enter_context(TemporaryFile()) for _ in range(3))  # noqa: SIM115 (it is one)
        given.write(json.dumps(to_map(request)).encode())
        given.seek(0)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([HOME, *filter(None, [os.environ.get("PYTHONPATH")])])
        }
        # A session of its own: Ctrl-C reaches us alone, and whatever the engine starts can be ended with it.
        self._process = subprocess.Popen(
            command, stdin=given, stdout=self._said, stderr=self._complained, env=environment, start_new_session=True
        )

    def wait(self, limit_s: float) -> Said:
        """What it said by its end, or by its limit, when it is killed."""
        with self._files:
            over = False
            try:
                self._process.wait(limit_s)
            except subprocess.TimeoutExpired:
                over = True
            finally:
                self.end()
            found = _last(self._said)
            if over:
                return self._after(found, OVER_TIME, f"over its time limit of {limit_s:.0f} s", limit_s)
            if self._process.returncode < 0:
                return self._after(found, CRASHED, f"crashed: {_signal(-self._process.returncode)}", limit_s)
            if found is None or self._process.returncode:
                return self._after(found, FAILED, f"its process failed: {_words(self._complained)}", limit_s)
            return found

    def end(self) -> None:
        """Kill the process's whole session, then reap it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _after(self, found: Said | None, state: str, reason: str, limit_s: float) -> Said:
        """A process that did not end well: what it had measured by then counts."""
        backend = self._request.cell.backend
        if not self._request.folder:
            return found or Told(backend=backend, missing=f"{backend}: {reason}")
        if isinstance(found, Measured) and found.state == RAN:
            return replace(found, reason=f"{reason}, after these figures")
        return Measured(state=state, reason=reason, limit_s=limit_s)


def _last(said: IO[bytes]) -> Said | None:
    said.seek(0)
    lines = said.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            return said_from(json.loads(line))
        except (ValueError, TypeError, KeyError):
            continue  # cut off when it was killed
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
