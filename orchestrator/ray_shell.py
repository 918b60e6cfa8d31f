"""Ray's part: the controller and the agents as actors, found or made in a cluster, and the way to reach them.

Only this file and local_cluster.py know Ray. Tensors never pass here: an actor call costs milliseconds.
"""

import asyncio
import os
import platform
import secrets
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nodes.backend import BACKENDS, Array
from nodes.code_version import code_version
from nodes.errors import NodesError
from nodes.store import Store
from orchestrator.agent import Agent, describe
from orchestrator.controller import Controller
from orchestrator.errors import ClusterError, OrchestratorError, VersionMismatch
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.local_cluster import state_folder
from orchestrator.plan_json import plan_to_json
from orchestrator.rollout_terms import RolloutTerms
from orchestrator.spec import DeploymentSpec
from orchestrator.whereabouts import Whereabouts
from orchestrator.workshop import Workshop
from partitioner.plan import Infeasible, Plan
from partitioner.profile import Profile
from partitioner.topology import Link, Node, Tier, Topology
from policies.rollout import Tally

NAMESPACE = "isthmus"
CONTROLLER = "isthmus-controller"
LABEL = "isthmus-node"
END_S = 30.0


class _RayAgent:
    """An agent actor, called by method name."""

    def __init__(self, actor: Any, host: str, *, shares_disk: bool) -> None:
        self._actor = actor
        self.gone = False
        self.host = host
        self.shares_disk = shares_disk

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        try:
            return await self._actor.run.remote(method, *args, **options)
        except RayActorError as error:
            self.gone = not isinstance(error, ActorUnavailableError)
            raise ClusterError(f"the agent on host {self.host} is gone: {_line(error)}") from None
        except RayTaskError as error:  # its text is a traceback; the cause is the error as it was raised there
            if isinstance(error.cause, NodesError | OrchestratorError):
                raise error.cause from None
            raise ClusterError(f"the agent on host {self.host}: {_line(error.cause)}") from None
        except RayError as error:
            raise ClusterError(f"the agent on host {self.host}: {_line(error)}") from None


class AgentActor:
    """One host's agent, made by the controller."""

    def __init__(self, controller: Any, settings: Mapping[str, Any]) -> None:
        async def tell(node: str, event: Mapping[str, Any]) -> None:
            try:
                await controller.worker_event.remote(node, event)
            except RayActorError:
                return  # the controller is away; a new one claims the workers and asks for itself

        self._agent = Agent(tell=tell, **settings)

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        """A method of `Agent` by name; errors travel as themselves."""
        return await getattr(self._agent, method)(*args, **options)


class ControllerActor:
    """The controller with what it needs around it. Its methods are what clients call."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._folder = Path(settings["folder"] or state_folder() / "cluster")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._emulated = bool(settings["emulated"])
        self._secret = _kept_secret(self._folder / "secret")
        self._token = _kept_token(self._folder / "token", settings.get("token"), self._secret)
        self._agents: dict[str, _RayAgent] = {}
        self._messages: list[str] = []
        whereabouts = Whereabouts(self._folder / "workers.json")
        fleet = Fleet(self._agent_for, emulated=self._emulated, whereabouts=whereabouts)
        store = Store(self._folder / "artifacts")
        self._controller = Controller(fleet, store, self._folder)
        self._workshop = Workshop(fleet, store, self._messages.append)
        self._beginning: asyncio.Task[None] | None = None

    async def _begun(self) -> Controller:
        """The controller, once it has gone on where one before it stopped: Ray may have restarted this actor."""
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._controller.begin())
        await asyncio.shield(self._beginning)
        return self._controller

    async def ready(self) -> dict[str, Any]:
        """Begin ticking; where and what this controller is."""
        await self._begun()
        return {
            "host": host_id(),
            "pid": os.getpid(),
            "emulated": self._emulated,
            "folder": str(self._folder),
            "python": platform.python_version(),
            "code": code_version(),
            "ray": ray.__version__,
            "token": _digest(self._token),
        }

    async def bring_up(self, spec: DeploymentSpec) -> dict[str, Any]:
        """Workers for every node of a topology; each as plain values."""
        await self._controller.fleet.bring_up(spec.topology)
        return self.workers()

    async def on_node(self, node: str, method: str, *args: Any) -> Any:
        """A method of the agent that speaks to a node's worker, by name."""
        return await self._controller.fleet.member(node).agent.run(method, node, *args)

    async def profile(
        self,
        spec: DeploymentSpec,
        model: str,
        samples: tuple[Mapping[str, Array], ...],
        segments: int = 0,
        batches: tuple[int, ...] = (),
        tune_s: float = 0.0,
        tuner: str = "learned",
    ) -> tuple[Profile, Plan | Infeasible]:
        """Measure a model on the nodes of a topology; the profile and the best plan under it."""
        blueprint = await self._workshop.blueprint(spec, Path(model), samples, tune_s=tune_s, tuner=tuner)
        blueprint = await self._workshop.learn(blueprint, Path(model), samples, segments) if segments else blueprint
        blueprint = await self._workshop.batch_curves(blueprint, Path(model), batches, choose=tune_s > 0)
        return blueprint.profile, await asyncio.to_thread(blueprint.find)

    async def deploy(
        self,
        spec: DeploymentSpec,
        model: str,
        samples: tuple[Mapping[str, Array], ...],
        profile: Profile | None,
        plan: Plan | None,
    ) -> dict[str, Any]:
        """Bring up or change a deployment; `model` is a path to a normalised model on this host."""
        blueprint = await self._workshop.blueprint(spec, Path(model), samples, profile)
        return await (await self._begun()).deploy(replace(blueprint, fixed=plan), Path(model))

    async def rollout(
        self,
        spec: DeploymentSpec,
        model: str,
        samples: tuple[Mapping[str, Array], ...],
        profile: Profile | None,
        plan: Plan | None,
        terms: RolloutTerms,
    ) -> dict[str, Any]:
        """Try a new version beside the one that runs; the deployment's status once it gets its part."""
        blueprint = await self._workshop.blueprint(spec, Path(model), samples, profile)
        begun = await self._begun()
        await begun.rollouts.rollout(replace(blueprint, fixed=plan), Path(model), terms)
        return dict(begun.status()["deployments"][spec.name])

    async def promote(self, name: str) -> dict[str, Any]:
        """Have the version on trial take over now; the deployment's status."""
        await (await self._begun()).rollouts.promote(name)
        return dict(self._controller.status()["deployments"][name])

    async def rollback(self, name: str, version: int | None) -> dict[str, Any]:
        """End the trial or go back to an earlier version; the deployment's status."""
        await (await self._begun()).rollouts.rollback(name, version)
        return dict(self._controller.status()["deployments"][name])

    async def counted(self, router: str, name: str, epoch: int, step: int, old: Tally, new: Tally) -> None:
        """A router tells what both versions did."""
        (await self._begun()).rollouts.counted(router, name, epoch, step, old, new)

    async def take_model(self, name: str, files: Mapping[str, bytes]) -> str:
        """Keep a model that lies on another machine; its path here."""
        folder = self._folder / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        return str(folder / "model.onnx")

    async def delete(self, name: str) -> None:
        """Delete a deployment."""
        await (await self._begun()).delete(name)

    async def status(self) -> dict[str, Any]:
        """Deployments, workers, routers and links, and which code the controller is."""
        told = (await self._begun()).status()
        return told | {"workers": self.workers(), "controller": {"code": code_version(), "pid": os.getpid()}}

    async def replace_worker(self, node: str, code: str) -> float:
        """Give a node a new worker, of this version of the code, under load; seconds that it took."""
        return await (await self._begun()).upgrade.replace(node, code)

    def workers(self) -> dict[str, Any]:
        """Each node's worker as plain values."""
        members = self._controller.fleet.members().items()
        return {node: describe(one.found) | {"by_hand": one.wanted.address is not None} for node, one in members}

    async def plan(self, name: str) -> tuple[Plan, dict[str, Any]]:
        """The plan that a deployment runs, and its JSON form."""
        plan = (await self._begun()).plan(name)
        return plan, plan_to_json(plan)

    async def spec(self, name: str) -> DeploymentSpec:
        """What is asked of a deployment."""
        return (await self._begun()).spec(name)

    async def logs(self, node: str, deployment: str | None, stage: str | None, limit: int) -> list[dict[str, Any]]:
        """A worker's last log lines."""
        lines: list[dict[str, Any]] = await self._controller.fleet.call(
            node, "logs", deployment=deployment, stage=stage, limit=limit
        )
        return lines

    async def messages(self, after: int) -> list[str]:
        """What the long work said, from message number `after` on."""
        return self._messages[after:]

    async def shape(self, links: tuple[Link, ...]) -> None:
        """Change emulated links."""
        await self._controller.shape(links)

    async def join(self, router: str, deployment: str) -> None:
        """A router wants a deployment's routes."""
        (await self._begun()).join(router, deployment)

    async def poll(self, router: str) -> list[Any]:
        """A router asks what to do."""
        return list(await (await self._begun()).poll(router))

    async def switched(self, router: str, deployment: str, epoch: int) -> None:
        """A router has switched."""
        self._controller.switched(router, deployment, epoch)

    async def drained(self, router: str, deployment: str, epoch: int) -> None:
        """A router has drained an epoch."""
        self._controller.drained(router, deployment, epoch)

    async def observe(self, links: list[tuple[Any, ...]]) -> None:
        """A router's link estimates, each as `Controller.observe` takes it."""
        for link in links:
            self._controller.observe(*link)

    async def suspect(self, deployment: str, epoch: int, stage: str, node: str, why: str) -> None:
        """A router does not trust a stage any more."""
        self._controller.suspect(deployment, epoch, stage, node, why)

    async def leave(self, router: str) -> None:
        """A router is gone."""
        self._controller.leave(router)

    async def worker_event(self, node: str, event: Mapping[str, Any]) -> None:
        """An agent tells of a worker."""
        await self._controller.worker_event(node, event)

    async def discover(self) -> Topology:
        """Labelled hosts as a topology, its links measured between workers' hosts."""
        found = [entry for entry in ray.nodes() if entry["Alive"] and LABEL in entry.get("Labels", {})]
        if not found:
            raise ClusterError(
                f"no Ray host has a label {LABEL}=NAME; start each with: ray start … --labels={LABEL}=NAME"
            )
        nodes = tuple(
            Node(
                name=entry["Labels"][LABEL],
                tier=Tier[entry["Labels"].get("tier", "edge").upper()],
                backends=tuple(BACKENDS),
            )
            for entry in found
        )
        return await self._controller.fleet.survey(nodes)

    async def shutdown(self) -> None:
        """End every worker and stop; a later controller begins anew."""
        await self._controller.fleet.stop()
        await self._controller.end()
        (self._folder / "token").unlink(missing_ok=True)

    async def _agent_for(self, node: Node) -> AgentHandle:
        found = self._host_of(node)
        if found["NodeID"] not in self._agents or self._agents[found["NodeID"]].gone:
            here = found["NodeID"] == ray.get_runtime_context().get_node_id()
            address = str(found["NodeManagerAddress"])
            host = "127.0.0.1" if self._emulated else address
            settings = {
                "folder": self._folder / "workers" if here else None,
                "host": host,
                "controller": CONTROLLER,
                "secret": self._secret,
                "token": None if host.startswith("127.") else self._token,
            }
            affinity = NodeAffinitySchedulingStrategy(found["NodeID"], soft=False)
            actor = (
                ray.remote(AgentActor)
                .options(num_cpus=0, scheduling_strategy=affinity, max_concurrency=1000)
                .remote(ray.get_runtime_context().current_actor, settings)
            )
            name = "here" if here else str(found["NodeID"])[:12]
            self._agents[found["NodeID"]] = _RayAgent(actor, name, shares_disk=here)
        return self._agents[found["NodeID"]]

    def _host_of(self, node: Node) -> dict[str, Any]:
        alive = [entry for entry in ray.nodes() if entry["Alive"]]
        me = next(entry for entry in alive if entry["NodeID"] == ray.get_runtime_context().get_node_id())
        if self._emulated or node.address is not None:
            return dict(me)
        found = [entry for entry in alive if entry.get("Labels", {}).get(LABEL) == node.name]
        if not found:
            have = [entry["Labels"][LABEL] for entry in alive if LABEL in entry.get("Labels", {})]
            raise ClusterError(
                f"node {node.name}: no Ray host has the label {LABEL}={node.name} (seen: {', '.join(have) or 'none'}); "
                f"start it with: ray start --address=… --labels={LABEL}={node.name}, or give the node an address:"
            )
        return dict(found[0])


def connect(address: str, environ: Mapping[str, str] | None = None) -> None:
    """Join a Ray cluster as a driver. VersionMismatch or ClusterError, each in one line."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "600")  # bond.py lets go of a lost head long before
    os.environ.update(environ or {})
    if environ is None and (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a Ray that made a token asks for it
    _reread_credentials()
    _check_reachable(address)
    ours = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except RuntimeError as error:
        if "ersion mismatch" in str(error):
            raise VersionMismatch(" ".join(str(error).split())) from None
        raise ClusterError(f"cannot join Ray at {address}: {' '.join(str(error).split())}") from None
    except ConnectionError as error:
        raise ClusterError(f"cannot join Ray at {address}: {' '.join(str(error).split())}") from None
    finally:
        if ours is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)  # Ray's own handler would abort the process


def _reread_credentials() -> None:
    """Ray reads its mode and token from the environment once, when first imported; this makes it look again."""
    inner: Any = import_module("ray._raylet")
    inner.Config.initialize("")
    inner.AuthenticationTokenLoader.instance().reset_cache()


def end_controller(actor: Any) -> None:
    """End the controller's process, for good, and wait until its name is free. ClusterError if it stays."""
    ray.kill(actor)
    until_s = time.monotonic() + END_S
    while time.monotonic() < until_s:
        try:
            ray.get_actor(CONTROLLER, NAMESPACE)
        except ValueError:
            return
        time.sleep(0.05)
    raise ClusterError(f"the controller does not end within {END_S:g} s")


def controller(settings: Mapping[str, Any]) -> Any:
    """The cluster's controller actor, made if there is none, beside the Ray head."""
    actor = (
        ray.remote(ControllerActor)
        .options(
            name=CONTROLLER,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,  # one that is killed comes back and goes on by its journal
            num_cpus=0,
            resources={"node:__internal_head__": 0.001},
            max_concurrency=1000,
        )
        .remote(dict(settings))
    )
    facts = ray.get(actor.ready.remote())
    check_versions(facts)
    if settings.get("token") and _digest(str(settings["token"])) != facts["token"]:
        raise ClusterError(
            "the cluster's controller was started with another token; give the same one, or end it first with: "
            "isthmus shutdown --address HOST:PORT"
        )
    return actor


def _digest(token: str) -> str:
    return sha256(f"shown {token}".encode()).hexdigest()


def check_versions(facts: Mapping[str, Any]) -> None:
    """VersionMismatch where the cluster's Ray or Python differs from ours in its minor version."""
    for name, ours, theirs in (
        ("Ray", ray.__version__, facts["ray"]),
        ("Python", platform.python_version(), facts["python"]),
    ):
        if ours.split(".")[:2] != theirs.split(".")[:2]:
            raise VersionMismatch(f"{name} is {ours} here and {theirs} in the cluster; install the same minor version")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def host_id() -> str:
    """Tells whether two processes see the same disk and loopback."""
    return f"{socket.gethostname()} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.stat('/').st_ino}"


def _check_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Ray at {address} ({error}); give HOST:PORT of a head started with: ray start --head --port=PORT"
        ) from None


def _kept_secret(path: Path) -> str:
    """The cluster's secret, made once: a later controller shows it to re-adopt the workers."""
    if not path.exists():
        _write_secret(path, secrets.token_hex(24))
    return path.read_text()


def _kept_token(path: Path, given: str | None, secret: str) -> str:
    """The token that streams show: as given to this controller or to one before it, else one of its own."""
    if given:
        path.unlink(missing_ok=True)
        _write_secret(path, given)
    return path.read_text() if path.exists() else sha256(f"token {secret}".encode()).hexdigest()


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
