"""The Python client: deploys, asks, watches. It holds the router, so tensors never pass through Ray.

Synchronous on the outside; inside, one thread runs the event loop of the router and of the talks with the
controller.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError

from nodes.backend import Array, TensorSpec
from nodes.memory import keep_memory
from orchestrator import local_cluster
from orchestrator.aligned import Aligned, Forgotten, Given
from orchestrator.aligning.terms import AlignTerms
from orchestrator.answers import Answer
from orchestrator.bond import tie
from orchestrator.client_align import stand_ins, terms_in
from orchestrator.client_sequence import Sequence
from orchestrator.client_source import Sensor
from orchestrator.errors import ClusterError, JournalError, UnknownDeployment
from orchestrator.following import Following
from orchestrator.handing_over import handed_over
from orchestrator.jobs.client import Jobs
from orchestrator.jobs.on_ray import end_desk, renew_desk
from orchestrator.loops import end_tasks
from orchestrator.recording import copy_journal
from orchestrator.request_log import JOURNAL, REQUESTS, Ended
from orchestrator.rollout_terms import RolloutTerms
from orchestrator.shared_models import settled
from orchestrator.sourcing import Item, Source, named
from orchestrator.spec import DeploymentSpec, load_spec
from orchestrator.telling import tell_links
from orchestrator.terms import Step, Terms
from orchestrator.upgrade import Upgraded, upgrade
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile
from partitioner.topology import Link, Topology

FAREWELL_S = 10.0  # after that it goes without a word
T = TypeVar("T")


class Client:
    """A client of a cluster: `Client()` of this machine's own, `Client("HOST:PORT")` of a Ray cluster.

    Without an address it joins the local cluster that `isthmus deploy` left running, or starts one that ends
    with this client. Use it as a context manager, or call `close()`. ClusterError if there is no cluster to be had.
    """

    def __init__(self, address: str | None = None, *, keep: bool = False, token: str | None = None) -> None:
        self._bond, self._own = tie(address, keep=keep, token=token)
        keep_memory()
        self._loop = asyncio.new_event_loop()
        self._following = Following(self._bond)
        self._router = self._following.router
        self._said = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="isthmus-client", daemon=True)
        self._thread.start()
        self._tasks = [
            self._start(self._following.follow()),
            self._start(self._following.watch()),
            self._start(self._following.count()),
            self._start(tell_links(self._router, self._bond)),
        ]

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def deploy(
        self, spec: DeploymentSpec | str | Path, *, profile: Profile | None = None, plan: Plan | None = None
    ) -> dict[str, Any]:
        """Bring a deployment up, or change the one of that name; its status once it serves.

        With a `profile` nothing is measured; with a `plan` that one runs, whatever the links do.
        SpecError for a spec that can't be, InvalidModel for a model, DeploymentFailed or ClusterError otherwise.
        """
        wanted = spec if isinstance(spec, DeploymentSpec) else load_spec(Path(spec))
        wanted, profile = settled(wanted, profile, plan, self.profile)
        path, samples = handed_over(self._bond, wanted)
        status: dict[str, Any] = self._ask("deploy", wanted, path, samples, profile, plan)
        self._part_from(wanted.name)
        return status

    def profile(
        self,
        spec: DeploymentSpec,
        *,
        segments: int = 0,
        batches: Iterable[int] = (),
        tune_s: float = 0.0,
        tuner: str = "learned",
    ) -> tuple[Profile, Plan | Infeasible]:
        """Measure the spec's model on the nodes of its topology; the profile, and the best plan under it.

        `segments` are to be known of each engine, for its cost model, beside those that plans use; `batches` are rows
        at once for which the whole model is timed; engines are tuned for `tune_s` seconds before all that, by what
        `tuner`, "learned" or "optuna", proposes, and the best of the batches is chosen for each.
        """
        path, samples = handed_over(self._bond, spec)
        found: tuple[Profile, Plan | Infeasible] = self._ask(
            "profile", spec, path, samples, segments, tuple(batches), tune_s, tuner
        )
        return found

    def bring_up(self, spec: DeploymentSpec) -> dict[str, Any]:
        """Have a worker for every node of the spec's topology; each worker as plain values."""
        workers: dict[str, Any] = self._ask("bring_up", spec)
        return workers

    def rollout(
        self,
        spec: DeploymentSpec | str | Path,
        *,
        terms: RolloutTerms | None = None,
        profile: Profile | None = None,
        plan: Plan | None = None,
    ) -> dict[str, Any]:
        """Try a new version of a running deployment beside it, by these terms; its status once it gets its part.

        It is promoted or rolled back by itself, as `status` and `rollout_history` tell. As `deploy` otherwise.
        """
        wanted = spec if isinstance(spec, DeploymentSpec) else load_spec(Path(spec))
        wanted, profile = settled(wanted, profile, plan, self.profile)
        path, samples = handed_over(self._bond, wanted)
        status: dict[str, Any] = self._ask("rollout", wanted, path, samples, profile, plan, terms or RolloutTerms())
        return status

    def promote(self, name: str) -> dict[str, Any]:
        """Have the version on trial take over now, whatever was counted; the status once it has. DeploymentFailed."""
        status: dict[str, Any] = self._ask("promote", name)
        return status

    def upgrade(self, *, every: bool = False, say: Callable[[str], None] = lambda _line: None) -> Upgraded:
        """Have this process's version of the code run everywhere: worker by worker, then the controller, under load.

        Whatever tells that version already is left alone, unless `every`. `say` hears a line as each is done.
        ClusterError if one can't be replaced: those after it stay as they were, everything serves, and it may be asked
        again.
        """
        done = upgrade(self._bond, every=every, say=say)
        if done.controller:
            renew_desk(self._bond.facts)
        return done

    def rollback(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """End the trial or, without one, have the version before (or this one) come back; the status once it has.

        DeploymentFailed if there is none.
        """
        status: dict[str, Any] = self._ask("rollback", name, version)
        return status

    def rollout_history(self, name: str) -> list[dict[str, Any]]:
        """A deployment's versions, oldest first, each with what became of it and why. UnknownDeployment."""
        deployments = self.status()["deployments"]
        if name not in deployments:
            raise UnknownDeployment(name, tuple(deployments))
        versions: list[dict[str, Any]] = deployments[name]["versions"]
        return versions

    def infer(
        self,
        name: str,
        inputs: Mapping[str, Array | Item],
        *,
        timeout_s: float = 30.0,
        request_id: str | None = None,
        key: str = "",
        priority: int = 0,
        sequence: Step | None = None,
    ) -> dict[str, Array]:
        """Outputs by name for one request. BadInput, RequestFailed, RequestTimeout or UnknownDeployment.

        Asked again under the same `request_id` within a minute of the answer, the same answer is given and nothing
        computed twice. While two versions are tried against each other, the same `key` always meets the same one. Where
        requests wait, `priority` 1 goes first, 9 last; 0 stands for 5. A model that keeps state is asked in steps of a
        `sequence`. Of an input at another node than this client's, an `Item` is given that stands for it (`source`).
        """
        about: dict[str, Any] = {"request_id": request_id, "key": key, "priority": priority, "sequence": sequence}
        return self.answer(name, inputs, timeout_s=timeout_s, **about).outputs

    def answer(
        self,
        name: str,
        inputs: Mapping[str, Array | Item],
        *,
        timeout_s: float = 30.0,
        trace: bool = False,
        request_id: str | None = None,
        key: str = "",
        priority: int = 0,
        sequence: Step | None = None,
    ) -> Answer:
        """As `infer`, with the latency in seconds, the epoch and, if traced, every stage's timings."""
        about: dict[str, Any] = {"request_id": request_id, "key": key, "priority": priority, "sequence": sequence}
        return self.submit(name, inputs, timeout_s=timeout_s, trace=trace, **about).result()

    def submit(
        self,
        name: str,
        inputs: Mapping[str, Array | Item],
        *,
        timeout_s: float = 30.0,
        trace: bool = False,
        request_id: str | None = None,
        key: str = "",
        priority: int = 0,
        sequence: Step | None = None,
    ) -> "Future[Answer]":
        """As `answer`, without waiting: many requests may be under way at once."""
        self.join(name)
        inputs, terms = named(inputs), Terms(priority=priority)
        about: dict[str, Any] = {"request_id": request_id, "key": key, "terms": terms, "step": sequence}
        return self._start(self._router.infer(name, inputs, budget_s=timeout_s, trace=trace, **about))

    def sequence(self, name: str, *, timeout_s: float = 30.0) -> Sequence:
        """A new sequence of requests to a model that keeps state; use it as a context manager, or `close()` it."""
        return Sequence(partial(self.infer, name, timeout_s=timeout_s), partial(self._end_sequence, name))

    def source(self, name: str, node: str) -> Sensor:
        """A sensor's end at a node: what it puts there, requests to deployment `name` may mean.

        To be run on that node. UnknownDeployment.
        """
        self.join(name)

        async def opened() -> Source:
            source = Source(self._router, name, node)
            await source.opened()
            return source

        return Sensor(self._start(opened()).result(timeout=30), self._loop)

    def align(
        self,
        name: str,
        terms: AlignTerms | None = None,
        *,
        instead: Mapping[str, Given] | None = None,
        forgotten: Forgotten | None = None,
        timeout_s: float = 30.0,
    ) -> Aligned:
        """Deployment `name` asked with what several sensors saw at one time. Which items belong together, and what
        stands for one that may be left out, is told by `terms` and `instead`, or else by `align` in its spec.

        A modality is an input, or several that are put together. `forgotten(modality, inputs)` is told of items that no
        request will mean any more, and may release them. ValueError where neither tells. UnknownDeployment.
        """
        self.join(name)
        submit = partial(self.submit, name, timeout_s=timeout_s)
        if terms is not None:
            return Aligned(terms, submit, self._loop, instead=instead, forgotten=forgotten)
        spec: DeploymentSpec = self._ask("spec", name)
        terms = terms_in(spec)
        stand = stand_ins(spec, terms, partial(self.source, name))
        told = stand.instead | dict(instead or {})
        return Aligned(terms, submit, self._loop, instead=told, forgotten=forgotten, ended=stand.close)

    def _end_sequence(self, name: str, sequence: str) -> None:
        self._loop.call_soon_threadsafe(self._router.sequences.end, name, sequence)

    def requests(self) -> tuple[Ended, ...]:
        """What became of this client's newest requests, in the order in which they ended."""
        return tuple(self._router.log)

    def write_requests(self, path: Path, *, since_s: float = 0.0) -> int:
        """Keep those since then (seconds since 1970) in a file, a JSON line each; how many. JournalError if the disk
        refuses.
        """
        return self._router.log.write(path, since_s=since_s)

    def record(self, folder: Path, *, since_s: float = 0.0) -> int:
        """Keep this run in a new folder, for its twin (`isthmus twin`): the controller's journal and this client's
        requests since then (seconds since 1970); how many. Service times come from those sent with `trace=True`.

        JournalError if the journal lies on another machine, or a disk refuses; FileExistsError for a folder that is
        there.
        """
        journal = Path(self.status()["journal"]["path"])
        folder.mkdir(parents=True)
        try:
            copy_journal(journal, folder / JOURNAL)
        except JournalError:
            folder.rmdir()  # so that it can be tried again under this name
            raise
        return self.write_requests(folder / REQUESTS, since_s=since_s)

    def join(self, name: str) -> None:
        """Get a deployment's routes now rather than at the first request. UnknownDeployment if there is none."""
        if name not in self._following.joined:
            self._ask("join", self._router.name, name)
            self._start(self._router.routed(name)).result(timeout=30)
            self._following.joined.append(name)

    def _part_from(self, name: str) -> None:
        """Join this deployment anew at the next request."""
        if name in self._following.joined:
            self._following.joined.remove(name)

    @property
    def jobs(self) -> Jobs:
        """The cluster's jobs: datasets through deployments, and scripts."""
        return Jobs(self._bond)

    @property
    def facts(self) -> dict[str, Any]:
        """What the controller is and where."""
        return self._bond.facts

    @property
    def _controller(self) -> Any:
        return self._bond.actor

    def status(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Deployments with their plans and epochs, workers, routers, links, and the last decisions with reasons.

        ClusterError while the controller is away, or where it takes longer than `timeout_s`.
        """
        status: dict[str, Any] = self._ask("status", timeout_s=timeout_s)
        return status

    def plan(self, name: str) -> Plan:
        """The plan that a deployment runs."""
        plan: Plan = self._ask("plan", name)[0]
        return plan

    def delete(self, name: str) -> None:
        """Drain a deployment and unload it everywhere. UnknownDeployment for a name that isn't there."""
        self._ask("delete", name)
        self._part_from(name)

    def logs(
        self, node: str, *, deployment: str | None = None, stage: str | None = None, limit: int = 200
    ) -> list[dict[str, Any]]:
        """A node's last log lines, oldest first."""
        lines: list[dict[str, Any]] = self._ask("logs", node, deployment, stage, limit)
        return lines

    def messages(self) -> list[str]:
        """What the controller said about its long work (profiling) since the last call."""
        new: list[str] = self._ask("messages", self._said)
        self._said += len(new)
        return new

    def shape(self, *links: Link) -> None:
        """Change emulated links: one-machine clusters only."""
        self._ask("shape", links)

    def inputs(self, name: str) -> tuple[TensorSpec, ...]:
        """What a deployment takes in: name, dtype and shape of each tensor, None for a free dimension."""
        self.join(name)
        return self._router.inputs(name)

    def discover(self) -> Topology:
        """The topology of the cluster's labelled hosts, with goodput and round trip measured between each two."""
        topology: Topology = self._ask("discover")
        return topology

    @contextmanager
    def found_by_others(self) -> Iterator[None]:
        """Meanwhile other commands on this machine find the cluster that this client started."""
        if self._own is not None:
            local_cluster.remember(self._own)
        try:
            yield
        finally:
            if self._own is not None:
                local_cluster.forget()

    def serve_metrics(self, port: int = 0) -> int:
        """Serve this client's router figures as Prometheus text on loopback; the port."""
        return self._router.metrics.serve(port)

    def close(self) -> None:
        """Leave the cluster; one that this client started ends with its workers. Safe to call twice."""
        if self._loop.is_closed():
            return
        try:
            self._part()
        finally:  # also when this is interrupted: nothing that this client started may stay
            ray.shutdown()
            if self._own is not None:
                self._own.remove()

    def _part(self) -> None:
        """Take leave of the controller and end the router and its thread."""
        for task in self._tasks:
            task.cancel()
        for farewell in ("leave", "shutdown") if self._own is not None else ("leave",):
            with suppress(ClusterError, RayActorError):
                self._ask(farewell, *([self._router.name] if farewell == "leave" else []), timeout_s=FAREWELL_S)
        with suppress(TimeoutError):
            self._start(self._router.close()).result(timeout=FAREWELL_S)
            self._start(end_tasks()).result(timeout=FAREWELL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def shutdown(self) -> None:
        """End the cluster's workers and controller, and Ray itself if it is this machine's own."""
        end_desk()
        self._ask("shutdown")
        ray.kill(self._controller)
        cluster = local_cluster.remembered()
        self.close()
        if cluster is not None:
            cluster.remove()
            local_cluster.forget()

    def _ask(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        return self._bond.ask(method, *args, timeout_s=timeout_s)

    def _start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)
