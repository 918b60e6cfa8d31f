"""Three hosts on this machine: a network namespace each, joined by a switch in a namespace of its own.

Each host has its own address, name, home and temporary folder, so that Ray and isthmus find nothing of each other's
but over the network. Needs root and iproute2. Nothing of it is left when the block ends, Ctrl-C included: whatever
runs in its namespaces is killed by process id. What a killed run left behind, the next one clears away.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

TOKEN = "5a" * 32
DATA_PORT = 7070  # tensors go to and from this port, so links can be slowed without starving Ray
PREFIX = "isthmus-lab"
START_TRIES, START_S = 3, 90
_TOOLS = ("ip", "tc", "unshare")
# The host's name, and a name server that refuses at once: one that cannot be reached makes each of Ray's processes wait
# for seconds.
_ENTER = 'hostname "$0"; [ ! -e /etc/resolv.conf ] || mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One of the lab's machines."""

    name: str
    address: str
    namespace: str
    home: Path
    scratch: Path  # short, for Ray's sockets


def missing() -> str | None:
    """Why there can be no lab here, or None."""
    if os.geteuid() != 0:
        return "the lab needs root"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"the lab needs {', '.join(absent)} (Debian packages iproute2 and util-linux)"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"the lab needs network namespaces: {made.stderr.strip()}"
    _ip("netns", "del", probe)
    return None


class Lab:
    """Hosts by name, in the order given: the first gets 10.77.0.1, and so on. A context manager."""

    def __init__(self, *names: str) -> None:
        self._own = f"{PREFIX}-{os.getpid()}"
        self._folder = Path(tempfile.mkdtemp(prefix="isl", dir="/tmp"))
        self._resolver = self._folder / "resolv.conf"
        self.hosts: dict[str, Host] = {}
        for number, name in enumerate(names, 1):
            self.hosts[name] = Host(
                name=name,
                address=f"10.77.0.{number}",
                namespace=f"{self._own}-{name}",
                home=self._folder / name,
                scratch=self._folder / f"t{number}",
            )

    def __enter__(self) -> "Lab":
        _clear_leftovers()
        try:
            self._build()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tear_down()

    def environ(self, name: str) -> dict[str, str]:
        """What a shell on that host has in its environment."""
        host = self.hosts[name]
        kept = {key: os.environ[key] for key in ("LANG", "LC_ALL") if key in os.environ}
        return kept | {
            "HOME": str(host.home),
            "PATH": f"{host.home}/bin:{Path(sys.executable).parent}:{os.defpath}",
            "RAY_TMPDIR": str(host.scratch),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_worker_prestart": "0",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_raylet_start_wait_time_s": str(START_S),
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def start(
        self, name: str, *command: str, environ: Mapping[str, str] | None = None, **options: object
    ) -> "subprocess.Popen[str]":
        """Start a command on a host; its input and output are pipes of text."""
        host = self.hosts[name]
        entered = ["ip", "netns", "exec", host.namespace, "unshare", "--uts", "sh", "-c"]
        entered += [_ENTER, name, str(self._resolver), *command]
        pipes: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process: subprocess.Popen[str] = subprocess.Popen(
            entered, env=self.environ(name) | dict(environ or {}), cwd=host.home, text=True, **(pipes | options)
        )
        return process

    def run(self, name: str, *command: str, timeout_s: float = 60, environ: Mapping[str, str] | None = None) -> str:
        """Run a command on a host to its end; what it printed. AssertionError with its output if it failed.

        Output goes through a file: a daemon that the command leaves behind may keep its output open.
        """
        with tempfile.TemporaryFile("w+", dir=self._folder) as out:
            process = self.start(
                name, *command, environ=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            out.seek(0)
            said = out.read()
        assert process.returncode == 0, f"{name}$ {' '.join(command)}\nended with {process.returncode}:\n{said}"
        return said

    def start_ray(self, head: str, *others: str) -> str:
        """Ray on these hosts, each with its label; the address to join at."""
        hosts = [self.hosts[name] for name in others]
        for host in (self.hosts[head], *hosts):
            (host.home / ".ray").mkdir(exist_ok=True)
            (host.home / ".ray" / "auth_token").write_text(TOKEN)
        address = f"{self.hosts[head].address}:6379"
        self._start_nodes([self.hosts[head]], "--head", "--port=6379", "--include-dashboard=false")
        self._start_nodes(hosts, f"--address={address}")
        return address

    def _start_nodes(self, hosts: list[Host], *arguments: str) -> None:
        """Ray gives its own start 30 s, too little for a busy machine; what failed all the same is started again."""
        for _ in range(START_TRIES):
            started = [self._start_node(host, *arguments) for host in hosts]
            codes = [process.wait(2 * START_S) for process in started]
            hosts = [host for host, code in zip(hosts, codes, strict=True) if code]
            if not hosts:
                return
            for host in hosts:
                self.kill_ray(host.name)
        said = (self._folder / f"{hosts[0].name}.ray.log").read_text()
        raise AssertionError(f"Ray did not start on {hosts[0].name}:\n{said}")

    def _start_node(self, host: Host, *arguments: str) -> "subprocess.Popen[str]":
        command = ["ray", "start", *arguments, f"--node-ip-address={host.address}", "--num-cpus=1"]
        command += [f"--temp-dir={host.scratch}"]  # else all write into the head's, and meet there
        command += [f"--labels=isthmus-node={host.name}", "--object-store-memory=100000000", "--disable-usage-stats"]
        with (self._folder / f"{host.name}.ray.log").open("w") as log:
            return self.start(
                host.name,
                *command,
                environ={"RAY_AUTH_MODE": "token", "ISTHMUS_WORKER_PORT": str(DATA_PORT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill_ray(self, name: str) -> None:
        """Kill every process of Ray on a host, with SIGKILL; isthmus' workers, nobody's children, are left."""
        _kill_until_none(lambda: [pid for pid in _pids(self.hosts[name].namespace) if _is_ray(pid)])

    def revive_ray(self, head: str, *others: str) -> None:
        """A new head where one was killed, and Ray on the others anew, as whoever supervises the hosts would."""
        for name in others:
            self.kill_ray(name)
        self.start_ray(head, *others)

    def slow(self, source: str, target: str, mbit_per_s: float) -> None:
        """Limit what tensors get from one host to another; all else passes in a class of its own."""
        number, namespace = list(self.hosts).index(target) + 2, self.hosts[source].namespace
        tbf = ["tbf", "rate", f"{mbit_per_s:g}mbit", "burst", "32kbit", "latency", "2s"]
        _tc(namespace, "qdisc", "replace", "dev", "eth0", "parent", f"1:{number}", "handle", f"{number}0:", *tbf)

    def cut(self, name: str) -> None:
        """Pull a host's cable."""
        _ip("-n", self._switch, "link", "set", "dev", name, "down")

    def mend(self, name: str) -> None:
        """Put it back."""
        _ip("-n", self._switch, "link", "set", "dev", name, "up")

    def end_all(self, name: str) -> None:
        """Kill whatever runs on a host."""
        _end_all(self.hosts[name].namespace)

    @property
    def _switch(self) -> str:
        return f"{self._own}-switch"

    def _build(self) -> None:
        self._resolver.write_text("nameserver 127.0.0.1\n")
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "name", "lan", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "dev", "lan", "up")
        for host in self.hosts.values():
            host.home.mkdir()
            host.scratch.mkdir()
            _ip("netns", "add", host.namespace)
            _ip(
                "-n",
                self._switch,
                "link",
                "add",
                "name",
                host.name,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                host.namespace,
            )
            _ip("-n", self._switch, "link", "set", "dev", host.name, "master", "lan", "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.namespace, "link", "set", "dev", device, "up")
            _ip("-n", host.namespace, "route", "add", "default", "dev", "eth0")  # Ray asks for its address by it
            self._classify(host)

    def _classify(self, host: Host) -> None:
        """Class 1 for everything, and one more per host for the tensors that go there."""
        _tc(host.namespace, "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "htb", "default", "1")
        for number in range(1, len(self.hosts) + 2):
            rate = ["htb", "rate", "10gbit", "quantum", "60000"]
            _tc(host.namespace, "class", "add", "dev", "eth0", "parent", "1:", "classid", f"1:{number}", *rate)
        for number, target in enumerate(self.hosts.values(), 2):
            for end in ("dport", "sport"):
                match = ["match", "ip", "dst", target.address, "match", "ip", end, str(DATA_PORT), "0xffff"]
                at = ["dev", "eth0", "parent", "1:", "protocol", "ip", "u32", *match, "flowid", f"1:{number}"]
                _tc(host.namespace, "filter", "add", *at)

    def _tear_down(self) -> None:
        for namespace in (*(host.namespace for host in self.hosts.values()), self._switch):
            _remove(namespace)
        shutil.rmtree(self._folder, ignore_errors=True)


def _clear_leftovers() -> None:
    """Namespaces of labs whose process is gone."""
    for namespace in _namespaces():
        owner = namespace.removeprefix(f"{PREFIX}-").split("-")[0]
        if namespace.startswith(f"{PREFIX}-") and not Path(f"/proc/{owner}").exists():
            _remove(namespace)


def _remove(namespace: str) -> None:
    if namespace in _namespaces():
        _end_all(namespace)
        _ip("netns", "del", namespace)


def _end_all(namespace: str) -> None:
    """Kill whatever runs in a namespace of ours."""
    _kill_until_none(lambda: _pids(namespace))


def _kill_until_none(find: Callable[[], list[int]]) -> None:
    until_s = time.monotonic() + 10
    while (found := find()) and time.monotonic() < until_s:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def _is_ray(pid: int) -> bool:
    """Whether it is Ray's own, or an actor's; a driver that has only joined is not."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return line.startswith(b"ray::") or b"/ray/" in line or b"ray start" in line


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]


def _pids(namespace: str) -> list[int]:
    return [int(pid) for pid in _ip("netns", "pids", namespace).split()]


def _ip(*arguments: str) -> str:
    return _checked(["ip", *arguments])


def _tc(namespace: str, *arguments: str) -> str:
    return _checked(["tc", "-n", namespace, *arguments])


def _checked(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
