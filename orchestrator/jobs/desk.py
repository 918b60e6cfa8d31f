"""The desk: where jobs are submitted, listed, stopped and deleted, and where drivers that died are replaced.

All it knows lies in folders, a job each, so a desk that dies loses nothing. It runs no job itself. `tend` is called
again and again by whoever keeps it (on_ray.py).
"""

import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from orchestrator.errors import OrchestratorError
from orchestrator.jobs import lock
from orchestrator.jobs.dataset import open_dataset
from orchestrator.jobs.errors import JobError, UnknownJob
from orchestrator.jobs.ledger import FILE, OWN, STOP, Ledger
from orchestrator.jobs.output import check_output, discard, is_published, publish
from orchestrator.jobs.standing import outcome, status_of
from orchestrator.jobs.terms import JobStatus, JobTerms
from orchestrator.spec import load_spec
from orchestrator.topology_spec import NAME

_log = logging.getLogger(__name__)
LOG = "log.txt"
AT_ONCE = 4  # drivers; jobs beyond are PENDING
DEATHS = 5  # of drivers in a row without an item more
TAIL_BYTES = 1 << 20
KILLED_S = 1.0  # in which drivers that were killed let go of their locks
START_S = 120.0  # in which a driver that was started takes the lock
KEPT = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED")


@dataclass(slots=True)
class _Driven:
    """Drivers of a job: the last one's process, when it was started, and how many died since `done` items were over."""

    pid: int
    started_s: float
    done: int = 0
    deaths: int = 0


class Desk:
    """Jobs below `root`. For one thread.

    `start` has a driver begin for a job's folder, and gives its process id. `withdraw` has a deployment deleted, and
    says whether it is gone; it waits for nothing, and is asked again.
    """

    def __init__(self, root: Path, start: Callable[[Path], int], withdraw: Callable[[str], bool]) -> None:
        self._root, self._start, self._withdraw = root, start, withdraw
        self._root.mkdir(parents=True, exist_ok=True)
        self._driven: dict[str, _Driven] = {}
        self._tidy: set[str] = set()  # jobs that are over and have no deployment any more
        self._told: dict[str, str] = {}  # what last went wrong with a job
        for left in root.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)  # half submitted, or half deleted

    def submit(self, terms: JobTerms) -> JobStatus:
        """Take a job in that was checked; it begins soon. JobError where its name is in use."""
        folder = self._root / terms.name
        if folder.exists():
            raise JobError(
                f"a job {terms.name!r} is there already; give another name, or: isthmus jobs delete {terms.name}"
            )
        new = self._root / f".{terms.name}.{uuid4().hex[:8]}"
        new.mkdir(mode=0o700)
        with Ledger(new, make=True) as ledger:
            ledger.begin(terms)
        new.rename(folder)
        return self.status(terms.name)

    def check(self, terms: JobTerms) -> None:
        """JobError or SpecError for what cannot be done. From any thread: it changes nothing, and may take long."""
        if not re.match(NAME, terms.name):
            raise JobError(f"job name {terms.name!r}: letters, digits, '.', '_' and '-' alone, 63 at most")
        if terms.kind == "script":
            if not Path(terms.script).is_file():
                raise JobError(f"no script {terms.script}; give a Python file")
            return
        if terms.in_flight < 1 or terms.timeout_s <= 0:
            raise JobError(f"{terms.in_flight} items at once, {terms.timeout_s:g} s each: both must be above 0")
        if terms.spec:
            load_spec(Path(terms.spec))
        open_dataset(Path(terms.data))
        check_output(Path(terms.output))
        for other in self.list():
            if not other.is_over and other.terms.output == terms.output:
                raise JobError(f"{terms.output} is what job {other.name!r} will write; give another output")

    def names(self) -> list[str]:
        """Every job's."""
        return sorted(path.parent.name for path in self._root.glob(f"[!.]*/{FILE}"))

    def list(self) -> "list[JobStatus]":
        """Every job, in the order in which they were submitted; one whose ledger is broken as FAILED."""
        return sorted((self._standing(name) for name in self.names()), key=lambda one: one.submitted_s)

    def _standing(self, name: str) -> JobStatus:
        try:
            return self.status(name, failures=0)
        except JobError as error:
            return JobStatus(name=name, state="FAILED", why=str(error), terms=JobTerms(name=name), submitted_s=0.0)

    def status(self, name: str, *, failures: int = 100) -> JobStatus:
        """How a job stands, with the first so many of its failures. UnknownJob."""
        with self._opened(name) as ledger:
            return status_of(ledger, time.time(), failures=failures)

    def logs(self, name: str) -> str:
        """What its drivers and its script said; the end of it, where that is long. UnknownJob."""
        with self._opened(name) as ledger:
            path = ledger.folder / LOG
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def stop(self, name: str) -> JobStatus:
        """Wish that a job stops: it does soon, and keeps no deployment. JobError for one that is over."""
        with self._opened(name) as ledger:
            if ledger.is_over:
                raise JobError(f"job {name!r} has {ledger.state} already; there is nothing to stop")
            ledger.note(STOP, f"{time.time()}")
            if ledger.state == "PENDING" and lock.holder(ledger.folder) is None and name not in self._driven:
                ledger.step("stop", "as it was asked to, before it began")
        return self.status(name)

    def delete(self, name: str) -> None:
        """Forget a job that is over; what it has written to its output stays. JobError for one that is not over."""
        with self._opened(name) as ledger:
            if not ledger.is_over:
                raise JobError(f"job {name!r} is {ledger.state}; stop it first: isthmus jobs stop {name}")
            if not self._tidied(ledger):
                raise JobError(f"job {name!r}: its deployment {ledger.fact(OWN)} is not gone yet; delete it again soon")
            folder = ledger.folder
        gone = self._root / f".{name}.{uuid4().hex[:8]}"
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        self._driven.pop(name, None)
        self._told.pop(name, None)
        self._tidy.discard(name)

    def tend(self) -> None:
        """Have a driver for each job that is not over, AT_ONCE at most, the oldest first; what others left goes."""
        jobs = self.list()
        open_jobs = [one for one in jobs if not one.is_over]
        at_work = sum(self._is_driven(one) for one in open_jobs)
        for job in open_jobs:
            if at_work < AT_ONCE and not self._is_driven(job):
                with self._alone(job.name):
                    at_work += self._drive(job)
        for name in [name for name in self._driven if name not in {one.name for one in open_jobs}]:
            del self._driven[name]
        over = {one.name for one in jobs if one.is_over}
        self._tidy &= over  # a ledger that could not be read for a moment is taken for a job that is over
        for name in over - self._tidy:
            with self._alone(name), self._opened(name) as ledger:
                if self._tidied(ledger):
                    self._tidy.add(name)

    def _tidied(self, ledger: Ledger) -> bool:
        """Whether a job that is over has no deployment of its own; a driver that was killed may have left one."""
        if not (own := ledger.fact(OWN)):
            return True
        if lock.holder(ledger.folder) is not None or not self._withdraw(own):
            return False
        ledger.note(OWN, "")
        return True

    def end(self, kill: Callable[[int], None]) -> None:
        """Stop every job at once, and what drives it: the cluster is shut down, and all deployments with it."""
        names, until_s = self.names(), time.monotonic() + KILLED_S
        while driven := [pid for name in names if (pid := lock.holder(self._root / name)) is not None]:
            for pid in filter(None, driven):  # again and again: 0 has not said yet which it is
                kill(pid)
            if time.monotonic() > until_s:
                _log.warning("%d jobs' drivers do not end within %g s", len(driven), KILLED_S)
                break
            time.sleep(0.01)
        for name in names:
            with self._alone(name), self._opened(name) as ledger:
                if not ledger.is_over:
                    finish(ledger, "stop", "the cluster was shut down")
                ledger.note(OWN, "")

    def _is_driven(self, job: JobStatus) -> bool:
        if lock.holder(self._root / job.name) is not None:
            return True
        driven = self._driven.get(job.name)
        return driven is not None and time.monotonic() - driven.started_s < START_S and _is_alive(driven.pid)

    def _drive(self, job: JobStatus) -> bool:
        """Start a driver, unless too many died: whether it was."""
        driven = self._driven.setdefault(job.name, _Driven(0, 0.0))
        died = driven.pid != 0
        driven.deaths = driven.deaths + 1 if died and driven.done == job.done else 0
        driven.done = job.done
        if driven.deaths >= DEATHS:
            with self._opened(job.name) as ledger:
                if not ledger.is_over:
                    why = f"{DEATHS} drivers in a row died without an item more; see: isthmus jobs logs {job.name}"
                    finish(ledger, "fail", why)
            return False
        folder = self._root / job.name
        driven.pid, driven.started_s = self._start(folder), time.monotonic()
        return True

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """What goes wrong with a job is said once, and left to the next time: no other job suffers of it."""
        try:
            yield
        except (OrchestratorError, OSError) as error:
            if (told := " ".join(str(error).split())) != self._told.get(name):
                _log.warning("job %s: %s", name, told)
            self._told[name] = told
        else:
            self._told.pop(name, None)

    @contextmanager
    def _opened(self, name: str) -> Iterator[Ledger]:
        folder = self._root / name
        if not re.match(NAME, name) or not (folder / FILE).exists():
            raise UnknownJob(name, tuple(self.names()))
        with Ledger(folder) as ledger:
            yield ledger


def finish(ledger: Ledger, verb: str, why: str) -> None:
    """End a job that no driver is at: by `verb`, unless its output is out and only that was not noted any more."""
    terms = ledger.terms()
    if terms.output and is_published(ledger, Path(terms.output), terms.name):
        publish(ledger, Path(terms.output), terms.name)
        ledger.step("succeed", outcome(ledger))
        return
    if terms.output:
        discard(ledger, Path(terms.output), terms.name)
    ledger.step(verb, why)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def start_driver(folder: Path, arguments: Sequence[str]) -> int:
    """Start a job's driver as nobody's child, which says what it says at the end of the job's log. Its process id.

    Ray kills the children of an actor with it. Of Ray's settings it gets what it needs to be let in.
    """
    command = [sys.executable, "-P", "-m", "orchestrator.jobs.driver", f"--state={folder}", *arguments]
    line = f"setsid {shlex.join(command)} </dev/null >>{shlex.quote(str(folder / LOG))} 2>&1 & echo $!"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") or name in KEPT}
    return int(subprocess.run(["/bin/sh", "-c", line], check=True, env=environ, stdout=subprocess.PIPE).stdout)
