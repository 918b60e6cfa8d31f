"""One host's supervisor: starts workers as daemons of their own, speaks to them, and tells the controller of them.

Runs as a Ray actor (ray_shell.py wraps it). Workers are not its children: they outlive it, and a later
agent finds them by their announcement and re-adopts them with the cluster's secret.
"""

import asyncio
import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nodes.errors import NodesError, NotAuthorised, StreamClosed
from nodes.stream import check_version, open_connection
from nodes.worker_client import Claimed, WorkerClient
from orchestrator.errors import ClusterError
from orchestrator.local_cluster import state_folder
from orchestrator.routes import Reach

START_S = 40.0
ENDING_S = 0.5  # in which a process that was killed is gone: its port is closed before that
MEASURE_BYTES = 1 << 20
Tell = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerWanted:
    """A worker to have: on this host, or already running at `address` (a board too small for Ray).

    `again`: one like it ran here a moment ago, so what this host told of its engines then holds; asking takes seconds.
    """

    node: str
    address: str | None = None
    emulated: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFound:
    """A claimed worker: how to reach it, what machine it is, its engines and where its metrics are.

    `key` is what its agent knows it by: the node, or more than that where it was started beside another one.
    """

    reach: Reach
    claimed: Claimed
    engines: Mapping[str, Mapping[str, Any]]
    metrics_port: int | None
    key: str = ""


class Agent:
    """Supervises the workers of one host. `tell(node, event)` carries their events to the controller."""

    def __init__(
        self, *, folder: Path | None, host: str, controller: str, secret: str, token: str | None, tell: Tell
    ) -> None:
        self._folder = folder or state_folder() / "workers"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._host = host
        self._controller = controller
        self._secret = secret
        self._token = token
        self._tell = tell
        self._clients: dict[str, WorkerClient] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._engines: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._ensuring: dict[str, asyncio.Lock] = {}
        self._before: dict[str, str] = {}  # what was announced before the worker of that key

    async def answer(self) -> str:
        """The host's name: whoever hears it can reach this agent."""
        return self._host

    async def ensure(self, wanted: WorkerWanted) -> WorkerFound:
        """Find or start the node's worker and claim it. ClusterError if it can't be had."""
        async with self._ensuring.setdefault(wanted.node, asyncio.Lock()):  # who asks twice gets one worker
            return await self._ensure(wanted)

    async def _ensure(self, wanted: WorkerWanted) -> WorkerFound:
        if wanted.address is not None:
            return await self._claimed(wanted, wanted.address, None, wanted.node)
        if (announced := self._announced(wanted.node)) is not None:
            try:
                return await self._claimed(wanted, announced["address"], announced["metrics_port"], wanted.node)
            except ClusterError:
                if not await _is_gone(announced["pid"], ENDING_S):
                    raise  # it was not just ending when it was asked
        announced = await self._start(wanted)
        return await self._claimed(wanted, announced["address"], announced["metrics_port"], wanted.node)

    async def beside(self, wanted: WorkerWanted) -> WorkerFound:
        """Start another worker of a node, of the code that is installed now, beside the one that runs, and claim it.

        From here on it is the one that is announced, until `take_back`. ClusterError if it can't be had; then nothing
        has changed.
        """
        if wanted.address is not None:
            raise ClusterError(
                f"node {wanted.node}: its worker was started by hand at {wanted.address}; restart it there"
            )
        async with self._ensuring.setdefault(wanted.node, asyncio.Lock()):
            announcement = self._announcement(wanted.node)
            before = announcement.read_text() if announcement.exists() else ""
            announced: dict[str, Any] = {}
            try:
                announced = await self._start(wanted)
                key = f"{wanted.node}@{announced['pid']}"
                found = await self._claimed(wanted, announced["address"], announced["metrics_port"], key)
            except BaseException:
                if announced:
                    _end_process(announced["pid"])
                self._announce_again(wanted.node, before)
                raise
            self._before[key] = before
            return found

    async def take_back(self, node: str, key: str) -> None:
        """End the worker that was started beside another one, which is announced again."""
        await self._stop(key)
        self._announce_again(node, self._before.pop(key, ""))

    def _announce_again(self, node: str, announcement: str) -> None:
        if announcement:
            path = self._announcement(node)
            written = path.with_name(f".{path.name}.again")
            written.write_text(announcement)
            written.replace(path)

    async def _claimed(self, wanted: WorkerWanted, address: str, port: int | None, key: str) -> WorkerFound:
        """Claim the worker at an address, and listen to it under this key."""
        client = WorkerClient(address, token=self._token, controller=self._controller, secret=self._secret)
        try:
            claimed = await client.claim()
            check_version(str(claimed.protocol), f"its worker at {address}")
            known = self._engines.get(wanted.node) if wanted.again and wanted.address is None else None
            engines = await client.engines() if known is None else known
        except NodesError as error:
            await client.close()
            raise ClusterError(f"node {wanted.node}: {error}") from None
        if claimed.node != wanted.node:
            await client.close()
            raise ClusterError(f"node {wanted.node}: the worker at {address} says it is node {claimed.node}")
        self._engines[wanted.node] = engines
        await self._replace(wanted.node, key, client)
        reach = Reach(node=wanted.node, address=address, token=self._token)
        return WorkerFound(reach=reach, claimed=claimed, engines=engines, metrics_port=port, key=key)

    async def call(self, key: str, method: str, *args: Any, **options: Any) -> Any:
        """A control method of a worker, by name (see `nodes.worker_client.WorkerClient`)."""
        if key not in self._clients:
            raise StreamClosed(f"no worker of node {key} is known here")
        return await getattr(self._clients[key], method)(*args, **options)

    async def give_artifact(self, key: str, folder: str, sha: str) -> None:
        """Have the worker hold an artifact that lies in a folder of this host."""
        client = self._clients[key]
        if not await client.has_artifact(sha):
            await client.put_artifact(Path(folder))

    async def take_artifact(self, key: str, files: Mapping[str, bytes], sha: str) -> None:
        """Have the worker hold an artifact whose files came through Ray."""
        folder = self._folder / "artifacts" / sha
        if not await self._clients[key].has_artifact(sha):
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                (folder / name).write_bytes(data)
            await self.give_artifact(key, str(folder), sha)

    async def measure_link(self, node: str, reach: Reach) -> tuple[float, float]:
        """Goodput in bytes/s and round trip in seconds from this host to a worker: padded pings, the median of five."""
        connection = await open_connection(
            reach.address, on_frame=lambda *_: None, on_closed=lambda *_: None, token=reach.token, node=node
        )
        try:
            rtt_s = statistics.median([await connection.ping() for _ in range(9)])
            spent = [await connection.ping(MEASURE_BYTES, timeout_s=60.0) for _ in range(5)]
        finally:
            await connection.close()
        return MEASURE_BYTES / max(statistics.median(spent) - rtt_s, 1e-6), rtt_s

    async def let_go(self, key: str) -> None:
        """Speak to a worker no more; it runs on, and another host's agent has claimed it."""
        client = self._unwatched(key)
        if client is not None:
            await client.close()

    def _unwatched(self, key: str) -> WorkerClient | None:
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.cancel()
        return self._clients.pop(key, None)

    async def stop(self, key: str | None = None) -> None:
        """End a worker, or all, and wait until it is gone."""
        await asyncio.gather(*(self._stop(name) for name in ([key] if key is not None else list(self._clients))))

    async def _stop(self, key: str) -> None:
        client = self._unwatched(key)
        if client is not None:
            await _shut(client)
            await client.close()

    def _announced(self, node: str) -> dict[str, Any] | None:
        """What a worker that still runs on this host has announced."""
        path = self._announcement(node)
        if not path.exists():
            return None
        announced: dict[str, Any] = json.loads(path.read_text())
        return announced if _is_alive(announced["pid"]) else None

    def _announcement(self, node: str) -> Path:
        return self._folder / f"{node}.worker.json"

    async def _start(self, wanted: WorkerWanted) -> dict[str, Any]:
        folder, announcement = self._folder / wanted.node, self._announcement(wanted.node)
        port = 0 if wanted.emulated else _port(self._host)
        folder.mkdir(parents=True, exist_ok=True)
        announcement.unlink(missing_ok=True)
        log = folder / "worker.log"
        if log.exists():
            log.replace(folder / "worker.log.before")  # a worker that still runs goes on writing there
        command = [sys.executable, "-P", "-m", "nodes.worker", f"--listen={self._host}:{port}", f"--node={wanted.node}"]
        command += [f"--state={folder}", f"--announce={announcement}", "--metrics-port=0"]
        if wanted.emulated:
            command.append("--emulated")
        if self._token is not None:
            command.append(f"--token-file={self._token_file()}")
        pid = await asyncio.to_thread(_daemonise, command, log)
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            announced = self._announced(wanted.node)
            if announced is not None:
                return announced
            if not _is_alive(pid):
                break
            await asyncio.sleep(0.05)
        raise ClusterError(f"the worker of node {wanted.node} died at its start: {_last_words(log)} (see {log})")

    def _token_file(self) -> Path:
        path = self._folder / "token"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._token or "")
        return path

    async def _replace(self, node: str, key: str, client: WorkerClient) -> None:
        old_watch, old = self._watches.pop(key, None), self._clients.get(key)
        if old_watch is not None:
            old_watch.cancel()
        if old is not None:
            await old.close()
        self._clients[key] = client
        self._watches[key] = asyncio.create_task(self._watch(node, key, client), name=f"watch-{key}")

    async def _watch(self, node: str, key: str, client: WorkerClient) -> None:
        try:
            async for event in client.watch():
                await self._tell(node, event)
        except NodesError as error:
            if self._clients.get(key) is client:
                await self._tell(node, {"event": "lost", "message": str(error), "worker": key})


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _port(host: str) -> int:
    """Where workers listen: a free port, unless the environment of `ray start` says which, for a firewall's sake.

    A worker that is started beside another one takes the port after that.
    """
    wanted = int(os.environ.get("ISTHMUS_WORKER_PORT", "0"))
    return wanted + 1 if wanted and _is_taken(host, wanted) else wanted


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return True
    return False


def _end_process(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


async def _shut(client: WorkerClient) -> None:
    try:
        pid = (await client.claim()).pid
        await client.shutdown()
    except (StreamClosed, NotAuthorised):
        return  # already gone, or another controller's by now
    await _is_gone(pid, 5.0)


async def _is_gone(pid: int, within_s: float) -> bool:
    """Whether a process has ended, now or soon."""
    deadline_s = time.monotonic() + within_s
    while (is_alive := _is_alive(pid)) and time.monotonic() < deadline_s:
        await asyncio.sleep(0.02)
    return not is_alive


def _daemonise(command: list[str], log: Path) -> int:
    """Start a process that is nobody's child: a shell in between leaves it to init. Its process id.

    Ray kills the children of an actor with it, even those in a session of their own.
    """
    line = f"setsid {shlex.join(command)} </dev/null >{shlex.quote(str(log))} 2>&1 & echo $!"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return int(subprocess.run(["/bin/sh", "-c", line], check=True, env=environ, stdout=subprocess.PIPE).stdout)


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return lines[-1] if lines else "it said nothing"


def describe(found: WorkerFound) -> dict[str, Any]:
    """A worker as plain values, for `isthmus status` and `doctor`."""
    facts = asdict(found.claimed)
    facts.pop("stages")
    facts["code"] = found.claimed.code or f"wire{found.claimed.protocol}"
    return facts | {"address": found.reach.address, "engines": dict(found.engines), "metrics_port": found.metrics_port}
