"""The Python client: deploys, asks, watches. It holds the router, so tensors never pass through Ray.

Synchronous on the outside; inside, one thread runs the event loop of the router and of the talks with the
controller.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from nodes.backend import Array, TensorSpec
from nodes.memory import keep_memory
from orchestrator import local_cluster, ray_shell
from orchestrator.errors import ClusterError
from orchestrator.model_file import files_of, prepare
from orchestrator.router import Answer, Router
from orchestrator.routers import Command, Drain, Renew, Switch
from orchestrator.samples import load_samples
from orchestrator.spec import DeploymentSpec, load_spec
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile
from partitioner.topology import Link, Topology

OBSERVE_S = 0.25
PROBE_BYTES = 64 << 10
FAREWELL_S = 10.0  # after that it goes without a word
T = TypeVar("T")


class Client:
    """A client of a cluster: `Client()` of this machine's own, `Client("HOST:PORT")` of a Ray cluster.

    Without an address it joins the local cluster that `isthmus deploy` left running, or starts one that ends
    with this client. Use it as a context manager, or call `close()`. ClusterError if there is no cluster to be had.
    """

    def __init__(self, address: str | None = None, *, keep: bool = False, token: str | None = None) -> None:
        self._own: local_cluster.LocalCluster | None = None
        self._controller, self.facts = self._join(address, keep, token)
        keep_memory()
        self._loop = asyncio.new_event_loop()
        self._router = Router(on_drained=self._drained)
        self._joined: set[str] = set()
        self._said = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="isthmus-client", daemon=True)
        self._thread.start()
        self._tasks = [self._start(self._follow()), self._start(self._observe())]

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
        path, samples = self._model(wanted)
        status: dict[str, Any] = self._ask("deploy", wanted, path, samples, profile, plan)
        self._joined.discard(wanted.name)
        return status

    def profile(
        self,
        spec: DeploymentSpec,
        *,
        segments: int = 0,
        batches: Iterable[int] = (),
        tune_s: float = 0.0,
    ) -> tuple[Profile, Plan | Infeasible]:
        """Measure the spec's model on the nodes of its topology; the profile, and the best plan under it.

        `segments` are to be known of each engine, for its cost model, beside those that plans use; `batches` are rows
        at once for which the whole model is timed; engines are tuned for `tune_s` seconds before all that.
        """
        path, samples = self._model(spec)
        found: tuple[Profile, Plan | Infeasible] = self._ask(
            "profile", spec, path, samples, segments, tuple(batches), tune_s
        )
        return found

    def bring_up(self, spec: DeploymentSpec) -> dict[str, Any]:
        """Have a worker for every node of the spec's topology; each worker as plain values."""
        workers: dict[str, Any] = self._ask("bring_up", spec)
        return workers

    def infer(self, name: str, inputs: Mapping[str, Array], *, timeout_s: float = 30.0) -> dict[str, Array]:
        """Outputs by name for one request. BadInput, RequestFailed, RequestTimeout or UnknownDeployment."""
        return self.answer(name, inputs, timeout_s=timeout_s).outputs

    def answer(self, name: str, inputs: Mapping[str, Array], *, timeout_s: float = 30.0, trace: bool = False) -> Answer:
        """As `infer`, with the latency in seconds, the epoch and, if traced, every stage's timings."""
        return self.submit(name, inputs, timeout_s=timeout_s, trace=trace).result()

    def submit(
        self, name: str, inputs: Mapping[str, Array], *, timeout_s: float = 30.0, trace: bool = False
    ) -> "Future[Answer]":
        """As `answer`, without waiting: many requests may be under way at once."""
        self.join(name)
        return self._start(self._router.infer(name, inputs, budget_s=timeout_s, trace=trace))

    def join(self, name: str) -> None:
        """Get a deployment's routes now rather than at the first request. UnknownDeployment if there is none."""
        if name not in self._joined:
            self._ask("join", self._router.name, name)
            self._start(self._router.routed(name)).result(timeout=30)
            self._joined.add(name)

    def status(self) -> dict[str, Any]:
        """Deployments with their plans and epochs, workers, routers, links, and the last decisions with reasons."""
        status: dict[str, Any] = self._ask("status")
        return status

    def plan(self, name: str) -> Plan:
        """The plan that a deployment runs."""
        plan: Plan = self._ask("plan", name)[0]
        return plan

    def delete(self, name: str) -> None:
        """Drain a deployment and unload it everywhere. UnknownDeployment for a name that isn't there."""
        self._ask("delete", name)
        self._joined.discard(name)

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
            with suppress(ClusterError, RayActorError, GetTimeoutError):
                self._ask(farewell, *([self._router.name] if farewell == "leave" else []), timeout_s=FAREWELL_S)
        with suppress(TimeoutError):
            self._start(self._router.close()).result(timeout=FAREWELL_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    def shutdown(self) -> None:
        """End the cluster's workers and controller, and Ray itself if it is this machine's own."""
        self._ask("shutdown")
        ray.kill(self._controller)
        cluster = local_cluster.remembered()
        self.close()
        if cluster is not None:
            cluster.remove()
            local_cluster.forget()

    def _join(self, address: str | None, keep: bool, token: str | None) -> tuple[Any, dict[str, Any]]:
        environ, folder, cluster = None, None, None  # without a folder the controller takes its own host's
        if address is None:
            cluster = local_cluster.remembered()
            if cluster is None:
                cluster = local_cluster.start(tied=not keep)
                if keep:
                    local_cluster.remember(cluster)
                else:
                    self._own = cluster
            environ, address, folder = cluster.environ(), cluster.address, str(Path(cluster.folder) / "isthmus")
        try:
            ray_shell.connect(address, environ)
        except BaseException:  # a connection that this process has to another cluster stays
            if self._own is not None:
                self._own.remove()
            raise
        try:
            settings = {"folder": folder, "emulated": cluster is not None, "token": token}
            actor = ray_shell.controller(settings)
            facts: dict[str, Any] = ray.get(actor.ready.remote())
        except BaseException:
            ray.shutdown()
            if self._own is not None:
                self._own.remove()
            raise
        return actor, facts

    def _model(self, spec: DeploymentSpec) -> tuple[str, tuple[dict[str, Array], ...]]:
        """The normalised model where the controller can read it, and samples of its inputs."""
        ready = prepare(spec)
        samples = load_samples({e.name: e.samples for e in spec.inputs if e.samples is not None}, ready.inputs)
        if self.facts["host"] == ray_shell.host_id():
            return str(ready.path), samples
        files = {name: file.read_bytes() for name, file in files_of(ready.path).items()}
        path: str = self._ask("take_model", ready.sha256, files)
        return path, samples

    def _ask(self, method: str, *args: Any, timeout_s: float | None = None) -> Any:
        """Call the controller; its errors are raised as themselves."""
        reference = getattr(self._controller, method).remote(*args)
        try:
            return ray.get(reference, timeout=timeout_s)
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            raise ClusterError(f"the controller is gone: {' '.join(str(error).split())[:200]}") from None
        except KeyboardInterrupt:
            ray.cancel(reference)
            raise

    def _start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _follow(self) -> None:
        """Do what the controller tells this router, for as long as the client lives."""
        name = self._router.name
        while True:
            try:
                commands = await self._controller.poll.remote(name)
            except (RayTaskError, RayActorError):
                await asyncio.sleep(1.0)  # the controller is away; requests go on with the routes there are
                continue
            for command in commands:
                with suppress(RayTaskError, RayActorError):  # news of what is gone by now is no news
                    await self._obey(command)

    async def _obey(self, command: Command) -> None:
        match command:
            case Switch(routes=routes):
                await self._router.switch(routes)
                await self._controller.switched.remote(self._router.name, routes.deployment, routes.epoch)
            case Drain(deployment=deployment, epoch=epoch):
                self._router.drain(deployment, epoch)
            case Renew(routes=routes):
                self._router.renew(routes)

    def _drained(self, deployment: str, epoch: int) -> None:
        self._controller.drained.remote(self._router.name, deployment, epoch)

    async def _observe(self) -> None:
        """Tell the controller what the links from here are worth, and probe those that nothing is sent over."""
        told: dict[tuple[str, str], int] = {}
        while True:
            await asyncio.sleep(OBSERVE_S)
            await self._router.probe(PROBE_BYTES)
            news = []
            for (source, target), (rate, rtt_s, samples) in self._router.estimates().items():
                if source and source != target and told.get((source, target)) != samples:
                    told[source, target] = samples
                    news.append((source, target, rate, rtt_s, samples))
            if news:
                with suppress(RayTaskError, RayActorError):
                    await self._controller.observe.remote(news)
