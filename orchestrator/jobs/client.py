"""`Client().jobs`: what a client asks the desk."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from orchestrator.bond import Bond
from orchestrator.errors import ClusterError, UnknownDeployment
from orchestrator.jobs import on_ray
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.terms import IN_FLIGHT, TIMEOUT_S, JobStatus, JobTerms

ANSWER_S = 120.0  # a large dataset is read through before it is taken in
RESTART_S = 30.0  # for a desk that was killed to answer again
LOOK_S = 0.5
GONE = ("failed", "deleting", "deleted")


class Jobs:
    """A cluster's jobs. Paths lie where the cluster's head is: relative ones are taken from this process's folder."""

    def __init__(self, bond: Bond) -> None:
        self._bond = bond

    def submit(
        self,
        data: str | Path,
        output: str | Path,
        *,
        deployment: str | None = None,
        spec: str | Path | None = None,
        name: str | None = None,
        in_flight: int = IN_FLIGHT,
        timeout_s: float = TIMEOUT_S,
    ) -> str:
        """Run a dataset through a deployment, or through that of a spec file, which is there for the job alone.

        `data`: a folder of pictures or recordings, a .npz, .jsonl or .parquet file. `output`: a .npz, .jsonl or
        .parquet file, or a folder, to be written once all is done. `in_flight` items are asked at once, for `timeout_s`
        at most each. The job's name. JobError, SpecError or UnknownDeployment for what cannot be done.
        """
        if (deployment is None) == (spec is None):
            raise JobError("a job runs through a deployment or through a spec: give one of them")
        if deployment is not None:
            self._check(deployment)
        terms = JobTerms(
            name=name or f"job-{uuid4().hex[:8]}",
            data=_absolute(data),
            output=_absolute(output),
            deployment=deployment or "",
            spec="" if spec is None else _absolute(spec),
            in_flight=in_flight,
            timeout_s=timeout_s,
        )
        return self._submitted(terms)

    def submit_script(
        self, script: str | Path, arguments: Sequence[str] = (), *, folder: str | Path = ".", name: str | None = None
    ) -> str:
        """Run a Python script in a folder, by Ray Jobs where the cluster has them; the job's name. JobError."""
        terms = JobTerms(
            name=name or f"job-{uuid4().hex[:8]}",
            kind="script",
            script=_absolute(script),
            arguments=tuple(arguments),
            folder=_absolute(folder),
        )
        return self._submitted(terms)

    def list(self) -> "list[JobStatus]":
        """Every job, in the order in which they were submitted; without their failures."""
        found: list[JobStatus] = self._ask("list")
        return found

    def status(self, name: str) -> JobStatus:
        """How a job stands. UnknownJob."""
        found: JobStatus = self._ask("status", name)
        return found

    def logs(self, name: str) -> str:
        """What its driver and its script said, the last megabyte of it. UnknownJob."""
        text: str = self._ask("logs", name)
        return text

    def stop(self, name: str, *, timeout_s: float = 30.0) -> JobStatus:
        """Stop a job; how it stands once it has, or after `timeout_s`. UnknownJob; JobError for one that is over."""
        self._ask("stop", name)
        try:
            return self.wait(name, timeout_s=timeout_s)
        except JobError:
            return self.status(name)

    def delete(self, name: str) -> None:
        """Forget a job that is over; its output stays. UnknownJob; JobError for one that is not."""
        self._ask("delete", name)

    def wait(
        self, name: str, *, timeout_s: float | None = None, say: Callable[[JobStatus], None] = lambda _status: None
    ) -> JobStatus:
        """How a job ended, once it has; `say` hears of it meanwhile. JobError if it takes longer than `timeout_s`."""
        until_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while not (found := self.status(name)).is_over:
            say(found)
            if time.monotonic() > until_s:
                raise JobError(f"job {name!r} is {found.state} after {timeout_s:g} s, {found.done} items done")
            time.sleep(LOOK_S)
        return found

    def _submitted(self, terms: JobTerms) -> str:
        self._ask("submit", terms)
        return terms.name

    def _check(self, deployment: str) -> None:
        there: dict[str, Any] = self._bond.ask("status")["deployments"]
        if deployment not in there:
            raise UnknownDeployment(deployment, tuple(there))
        if there[deployment]["state"] in GONE:
            raise JobError(f"deployment {deployment!r} is {there[deployment]['state']}; deploy it again first")

    def _ask(self, method: str, *args: Any) -> Any:
        """Ask the desk; one that was killed a moment ago is asked again. ClusterError while there is none."""
        until_s = time.monotonic() + RESTART_S
        while True:
            try:
                return ray.get(on_ray.desk(self._bond.facts).call.remote(method, *args), timeout=ANSWER_S)
            except RayTaskError as error:
                raise error.cause from None
            except (ActorUnavailableError, RayActorError) as error:
                if method in ("submit", "delete", "stop") or time.monotonic() > until_s:
                    line = " ".join(str(error).split())[:200]
                    raise ClusterError(f"the jobs' desk is being restarted, ask again: {line}") from None
                time.sleep(0.2)
            except RayError as error:
                raise ClusterError(f"the jobs' desk does not answer: {' '.join(str(error).split())[:200]}") from None


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())
