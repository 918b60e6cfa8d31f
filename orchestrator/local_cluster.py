"""A Ray of our own on this machine: started on loopback with its own token, port and folder, ended whole.

It never touches another Ray: every process it ends is in the session that it started, or a worker whose state lies
in its folder. A machine with a Ray already running is joined through `--address` instead; this file is not used.
"""

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.errors import ClusterError

START_S = 120.0
_FREE = "from ray.scripts.scripts import main; main()"
_TIED = "from orchestrator.local_cluster import end_with_parent; end_with_parent({parent}, {folder!r}); " + _FREE
_started: dict[int, "subprocess.Popen[bytes]"] = {}  # heads that are this process's children, to be reaped
PDEATHSIG = 1  # prctl(2): the signal that a child gets when its parent dies, however it dies


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCluster:
    """A running local Ray: where it listens, its token, its session leader and its folder."""

    address: str
    token: str
    pid: int
    folder: str

    def environ(self) -> dict[str, str]:
        """What a driver must have in its environment to be let in."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def stop(self) -> None:
        """End every process of this Ray's session, and the workers whose state lies in its folder."""
        if self.is_alive():
            end_session(self.pid)
        _end(lambda: worker_pids(self.folder), within_s=10.0)

    def remove(self) -> None:
        """End it, and remove its folder with logs and artifacts."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_alive(self) -> bool:
        """Whether its head's session is still there; one whose id another process got since is not it."""
        return any(self.folder.encode() in _command_line(pid) for pid in session_pids(self.pid))


def start(*, tied: bool) -> LocalCluster:
    """Start a Ray head on a free loopback port. `tied`: it ends when this process does, however that dies.

    ClusterError with the last line Ray printed, if it does not come up.
    """
    folder = tempfile.mkdtemp(prefix="isthmus-", dir=_short_folder())
    return launch(folder, _free_port(), secrets.token_hex(32), tied=tied)


def launch(folder: str, port: int, token: str, *, tied: bool) -> LocalCluster:
    """Start a Ray head at that port, with its files in `folder`: a new one, or that of a cluster whose head died.

    ClusterError as in `start`.
    """
    code = _TIED.format(parent=os.getpid(), folder=folder) if tied else _FREE
    command = [sys.executable, "-P", "-c", code, "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}", "--num-cpus=0"]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=200000000"]
    environ = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_task_events_report_interval_ms": "0",  # else the head remembers each of the last 100,000 calls
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_DISABLE_IMPORT_WARNING": "1",
    }
    log = Path(folder) / "start.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _started[process.pid] = process
    cluster = LocalCluster(address=f"127.0.0.1:{port}", token=token, pid=process.pid, folder=folder)
    try:
        _wait_until_up(process, port, log)
    except ClusterError:
        cluster.stop()  # its folder stays: the log in it says more
        raise
    except BaseException:
        cluster.remove()
        raise
    return cluster


def end_with_parent(parent: int, folder: str) -> None:
    """In a head that is about to start: kill its session and its workers, and remove its folder, once `parent` dies."""

    def end(*_: object) -> None:
        if os.getppid() != parent:  # else only the thread that started us has ended
            _end(lambda: [pid for pid in session_pids(os.getpid()) if pid != os.getpid()], within_s=10.0)
            _end(lambda: worker_pids(folder), within_s=10.0)
            shutil.rmtree(folder, ignore_errors=True)
            os.kill(os.getpid(), signal.SIGKILL)

    signal.signal(signal.SIGUSR1, end)
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGUSR1)
    end()  # it may have died before


def _wait_until_up(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        if "--block" in log.read_text(errors="replace"):  # Ray's last words once everything runs
            return
        time.sleep(0.05)
    words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise ClusterError(f"Ray did not start on port {port}: {words[-1] if words else 'it said nothing'} (see {log})")


def session_pids(leader: int) -> list[int]:
    """Live processes of the session that `leader` began, itself included (Linux /proc)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def worker_pids(folder: str) -> list[int]:
    """Live workers that keep their state in a cluster's folder, and shells about to start one.

    Workers are daemons in sessions of their own, and may not have announced themselves yet.
    """
    mark = f"--state={folder}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        is_other = entry.name.isdigit() and int(entry.name) != os.getpid()
        if is_other and mark in _command_line(int(entry.name)):
            found.append(int(entry.name))
    return found


def _command_line(pid: int) -> bytes:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def end_session(leader: int, *, within_s: float = 10.0) -> None:
    """Kill every process of a session and wait until none is left.

    Killed rather than asked: Ray's own shutdown takes half a minute and has nothing of ours to save.
    """
    _end(lambda: session_pids(leader), within_s=within_s)
    if leader in _started:
        _started.pop(leader).wait(within_s)


def _end(find: Callable[[], list[int]], *, within_s: float) -> None:
    """Kill what `find` finds until it finds nothing."""
    deadline_s = time.monotonic() + within_s
    while (pids := find()) and time.monotonic() < deadline_s:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def state_folder() -> Path:
    """Where what outlives a command is kept: $XDG_STATE_HOME/isthmus."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(home) / "isthmus"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remember(cluster: LocalCluster) -> None:
    """Note the cluster for later commands; only this user may read it, since the token is in it."""
    path = state_folder() / "cluster.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(cluster), file)


def remembered() -> LocalCluster | None:
    """The local cluster that an earlier command left running, if it still runs."""
    path = state_folder() / "cluster.json"
    if not path.exists():
        return None
    try:
        cluster = LocalCluster(**json.loads(path.read_text()))
        if cluster.is_alive():
            return cluster
    except (ValueError, TypeError):  # torn by a full disk, or another version's
        forget()
        return None
    forget()
    return None


def forget() -> None:
    """Forget the remembered cluster."""
    (state_folder() / "cluster.json").unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _short_folder() -> str | None:
    """Ray's socket paths must stay below 107 bytes, so a deep TMPDIR will not do."""
    return None if len(tempfile.gettempdir()) < 30 else "/tmp"
