"""The test's side of driver.py: a client on a lab host, called by method name."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.eventually import eventually
from tests.lab.hosts import Lab

T = TypeVar("T")
DRIVER = Path(__file__).with_name("driver.py")


class Told:
    """A driver on one host. AssertionError with its words where it fails."""

    def __init__(self, lab: Lab, host: str, *arguments: str) -> None:
        self._said = lab.hosts[host].home / "driver.err"
        with self._said.open("w") as said:
            self._process = lab.start(host, "python", "-P", str(DRIVER), *arguments, stderr=said)

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        assert line, f"the driver died ({self._process.poll()}): {self._said.read_text()[-2000:]}"
        reply = json.loads(line)
        assert "error" not in reply, f"{method}: {reply['error']}"
        return reply["value"]

    def until(self, look: Callable[[], T], what: str, *, within_s: float = 40.0) -> T:
        """What `look` sees once it is true; an AssertionError tells the controller's last decisions."""
        try:
            return eventually(look, within_s=within_s, what=what)
        except AssertionError as late:
            if not self._can_tell():
                raise
            told = [f"{entry['what']} {entry['epoch']} {entry['why']}" for entry in self.ask("status")["history"]]
            raise AssertionError("\n".join([str(late), *told[-12:]])) from None

    def _can_tell(self) -> bool:
        try:
            return bool(self.ask("status"))
        except AssertionError:  # the controller is away, which what was waited for must tell
            return False

    def nodes_of(self, name: str) -> list[str]:
        """The nodes that a deployment's requests go through now."""
        plan = self.ask("status")["deployments"][name]["plan"]
        return [] if plan is None else [stage["node"] for stage in plan["stages"]]

    def worker(self, node: str) -> int | None:
        """The process id of a node's worker, None while there is none."""
        found = self.ask("status")["workers"].get(node)
        return None if found is None else int(found["pid"])
