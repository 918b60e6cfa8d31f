"""The desk as an actor beside the controller: Ray restarts it, it restarts drivers, and no driver is its child."""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from orchestrator.errors import ClusterError
from orchestrator.jobs.desk import Desk, start_driver
from orchestrator.ray_shell import CONTROLLER, NAMESPACE

_log = logging.getLogger(__name__)
DESK = "isthmus-jobs"
TEND_S = 0.5
END_S = 30.0
STATUS_S = 1.0  # for the controller to tell of deployments; clients of the desk wait meanwhile


class DeskActor:
    """The cluster's desk. `call` is what clients call; one thread tends the jobs."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        address = str(ray.get_runtime_context().gcs_address)
        if settings["emulated"]:  # this machine's own, whose network may change under it
            address = f"127.0.0.1:{address.rpartition(':')[2]}"
        arguments = [f"--address={address}", f"--folder={settings['folder']}"]
        arguments += ["--emulated"] if settings["emulated"] else []
        self._desk = Desk(Path(settings["folder"]) / "jobs", partial(start_driver, arguments=arguments), withdraw)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._tend, name="jobs", daemon=True)
        self._thread.start()

    def _tend(self) -> None:
        while not self._over.wait(TEND_S):
            with self._lock:
                if not self._over.is_set():
                    self._look()

    def _look(self) -> None:
        try:
            self._desk.tend()
        except Exception:  # a full disk, a ledger that was removed: one broken job must not stop the others for good
            _log.exception("jobs are not tended for a moment")

    def call(self, method: str, *args: Any) -> Any:
        """A method of the desk by name; errors travel as themselves."""
        if method == "submit":
            self._desk.check(*args)
        with self._lock:
            return getattr(self._desk, method)(*args)

    def end(self) -> None:
        """Stop every job, and tend no more: the cluster is shut down."""
        self._over.set()
        with self._lock:
            self._desk.end(_kill)


def withdraw(deployment: str) -> bool:
    """Have the controller delete a deployment, if it is there; whether it is gone. It waits for no draining."""
    try:
        controller = ray.get_actor(CONTROLLER, NAMESPACE)
        found = ray.get(controller.status.remote(), timeout=STATUS_S)["deployments"].get(deployment)
        if found is None or found["state"] == "deleted":
            return True
        if found["state"] != "deleting":
            controller.delete.remote(deployment)
    except (ValueError, RayError, TimeoutError) as error:  # it is away: it comes back, and is asked again
        _log.info("deleting %s: %s", deployment, " ".join(str(error).split())[:200])
    return False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def desk(settings: Mapping[str, Any]) -> Any:
    """The cluster's desk, made if there is none, beside the Ray head; `settings` are the controller's facts."""
    return (
        ray.remote(DeskActor)
        .options(
            name=DESK,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            num_cpus=0,
            resources={"node:__internal_head__": 0.001},
            max_concurrency=8,
        )
        .remote({"folder": settings["folder"], "emulated": settings["emulated"]})
    )


def end_desk() -> None:
    """End the cluster's desk with all that it drives, if there is one."""
    try:
        actor = ray.get_actor(DESK, NAMESPACE)
        ray.get(actor.end.remote(), timeout=END_S)
    except ValueError:
        return
    except RayError as error:  # it is gone, or hangs
        _log.warning("jobs may be left running: %s", " ".join(str(error).split())[:200])
    ray.kill(actor)


def renew_desk(settings: Mapping[str, Any]) -> None:
    """Have a desk of the code installed now take over, where there is one; drivers go on as they are. ClusterError."""
    if not is_there():
        return
    ray.kill(ray.get_actor(DESK, NAMESPACE))
    until_s = time.monotonic() + END_S
    while is_there():
        if time.monotonic() > until_s:
            raise ClusterError(f"the jobs' desk does not end within {END_S:g} s")
        time.sleep(0.05)
    desk(settings)


def is_there() -> bool:
    """Whether the cluster has a desk."""
    try:
        ray.get_actor(DESK, NAMESPACE)
    except ValueError:
        return False
    return True
