"""A process's tie to its cluster's controller through Ray: made, lost and made again, without ending the process.

A Ray driver whose head is gone is ended by Ray after a minute, and with it the router and all its requests. So a
head that doesn't answer is let go of in time; requests go on by the routes that there are, and whoever comes back at
that address, the same cluster or a new one with the old journal, is joined anew. It knows nothing of requests.
"""

import logging
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError, RayTaskError

from orchestrator import local_cluster, ray_shell
from orchestrator.errors import ClusterError

_log = logging.getLogger(__name__)
REACH_S = 2.0  # for the head to take a connection
LOOK_S = 0.5  # how long an answer is waited for before looking whether Ray is still there
RESTART_S = 30.0  # for a controller that was restarted to answer again
AWAY = (RayError, ClusterError, TimeoutError, ConnectionError)  # what a call meets while the controller is away


class Bond:
    """The controller at `address`, made there if there is none. VersionMismatch or ClusterError, each in one line."""

    def __init__(self, address: str, environ: Mapping[str, str] | None, settings: Mapping[str, Any]) -> None:
        self._address, self._environ, self._settings = address, environ, dict(settings)
        self._tying = threading.Lock()
        self._changed = threading.Condition()
        self._asking = 0
        self._said = ""
        self.actor: Any = None
        self.facts: dict[str, Any] = {}
        ray_shell.connect(address, environ)
        try:
            self._find()
        except BaseException:
            ray.shutdown()
            raise

    @property
    def is_tied(self) -> bool:
        """Whether there is a controller to call; it may have died a moment ago."""
        return self.actor is not None

    def ask(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        """Call the controller and wait; its errors are raised as themselves. ClusterError while it is away.

        A controller that is being restarted is waited for, RESTART_S at most: what was asked may have been done or not,
        so only what can be asked twice is asked again.
        """
        until_s = time.monotonic() + RESTART_S
        while True:
            try:
                return self._got(method, args, timeout_s)
            except RayTaskError as error:
                raise error.cause from None
            except ActorUnavailableError as error:
                if method not in ("status", "plan", "spec", "join", "messages") or time.monotonic() > until_s:
                    raise ClusterError(f"the controller is being restarted, ask again: {_line(error)}") from None
                time.sleep(0.2)
            except RayActorError as error:
                raise ClusterError(f"the controller is gone: {_line(error)}") from None

    def _got(self, method: str, args: tuple[Any, ...], timeout_s: float | None) -> Any:
        """The answer, looked for again and again: whoever lets go of Ray waits for nobody who still waits in it."""
        until_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._asking += 1
        try:
            reference = self.call(method, *args)
            while True:
                try:
                    return ray.get(reference, timeout=max(0.0, min(LOOK_S, until_s - time.monotonic())))
                except GetTimeoutError:
                    if time.monotonic() >= until_s:
                        raise ClusterError(f"the controller does not answer within {timeout_s:g} s") from None
                    if self.actor is None:
                        raise ClusterError(f"the cluster at {self._address} went away meanwhile") from None
                except KeyboardInterrupt:
                    ray.cancel(reference)
                    raise
        finally:
            with self._changed:
                self._asking -= 1
                self._changed.notify_all()

    def call(self, method: str, *args: Any) -> Any:
        """Call the controller; what can be awaited or got. ClusterError while it is away."""
        actor = self.actor  # another thread may let go of it meanwhile
        if actor is None:
            raise ClusterError(
                f"the cluster at {self._address} does not answer; requests go on as they are routed, and it is joined "
                "again when it is back"
            )
        return getattr(actor, method).remote(*args)

    def answers(self) -> bool:
        """Whether something takes connections where the head is."""
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=REACH_S).close()
        except OSError:
            return False
        return True

    def loosen(self) -> None:
        """Let go of a head that is gone, before Ray ends this process for it."""
        with self._tying:
            self._leave()
        self._say(f"the cluster at {self._address} does not answer: requests go on as they are routed")

    def _leave(self) -> None:
        """End the connection once nobody waits in it: Ray would end the process of who does."""
        self.actor = None
        with self._changed:
            self._changed.wait_for(lambda: not self._asking, timeout=4 * LOOK_S)
        ray.shutdown()

    def renew(self) -> bool:
        """Join whoever is at the address now; False while nobody is."""
        before = self.actor
        if not self.answers():
            return False
        with self._tying:
            if self.actor is not before:
                return True  # it was replaced meanwhile, from here
            self._leave()
            try:
                ray_shell.connect(self._address, self._environ)
                self._find()
            except (ClusterError, RayError, GetTimeoutError, ConnectionError) as error:
                ray.shutdown()
                self._say(f"cannot join the cluster at {self._address} again yet: {_line(error)}")
                return False
        self._say(f"joined the cluster at {self._address} again")
        return True

    def replace(self) -> None:
        """End the controller and have a new one, of this process's code, go on by its journal. ClusterError."""
        with self._tying:
            ray_shell.end_controller(self.actor)
            self._find()

    def _say(self, what: str) -> None:
        """Tell whoever reads the log, once each."""
        if what != self._said:
            self._said = what
            _log.warning("%s", what)

    def _find(self) -> None:
        actor = ray_shell.controller(self._settings)
        self.facts = ray.get(actor.ready.remote())
        self.actor = actor


def tie(
    address: str | None, *, keep: bool = False, token: str | None = None
) -> tuple[Bond, local_cluster.LocalCluster | None]:
    """A tie to the cluster at `address`, and the cluster if it was started for this.

    Without an address it is this machine's own, which is started where none runs: to stay with `keep`, else to end with
    this process.
    """
    environ, folder, cluster, own = None, None, None, None  # without a folder the controller takes its own host's
    if address is None:
        cluster = local_cluster.remembered()
        if cluster is None:
            cluster = local_cluster.start(tied=not keep)
            if keep:
                local_cluster.remember(cluster)
            else:
                own = cluster
        environ, address, folder = cluster.environ(), cluster.address, str(Path(cluster.folder) / "isthmus")
    try:
        return Bond(address, environ, {"folder": folder, "emulated": cluster is not None, "token": token}), own
    except BaseException:
        if own is not None:
            own.remove()
        raise


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
