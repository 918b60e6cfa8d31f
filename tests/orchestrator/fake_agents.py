"""A fleet whose agents are fakes in this process: no worker, no Ray. What a worker would do fails on request."""

from dataclasses import dataclass, field
from typing import Any

from nodes.stage_spec import StageSpec
from nodes.worker_client import Claimed, Loaded
from orchestrator.agent import WorkerFound, WorkerWanted
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.routes import Reach
from partitioner.topology import Node

ENGINES = {"onnxruntime": {"version": "1"}}


def found(
    node: str, engines: dict[str, dict[str, str]] | None = None, stages: tuple[StageSpec, ...] = ()
) -> WorkerFound:
    """A claimed worker that is not there, and what it holds."""
    claimed = Claimed(
        worker=f"worker-{node}", node=node, pid=1, protocol=1, python="3.11", machine="x86_64", cores=2,
        memory_bytes=1 << 30, emulated=True, stages=stages,
    )  # fmt: skip
    reach = Reach(node=node, address=f"{node}:1")
    return WorkerFound(reach=reach, claimed=claimed, engines=ENGINES if engines is None else engines, metrics_port=None)


@dataclass
class FakeAgent:
    """One host's agent. `faults` maps a stage to what its loading raises, `engines` a node to what it has."""

    host: str = "here"
    shares_disk: bool = True
    faults: dict[str, Exception] = field(default_factory=dict)
    engines: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    wanted: list[WorkerWanted] = field(default_factory=list)
    let_go: list[str] = field(default_factory=list)
    held: dict[tuple[str, int, str], StageSpec] = field(default_factory=dict)  # deployment, epoch, stage
    given: list[tuple[str, str]] = field(default_factory=list)  # node, artifact
    shaped: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    async def run(self, method: str, *args: Any, **_options: Any) -> Any:
        """What `orchestrator.agent.Agent` would do, without a worker."""
        match method, args:
            case "ensure", (WorkerWanted(node=node) as wanted,):
                self.started.append(node)
                self.wanted.append(wanted)
                stages = tuple(spec for spec in self.held.values() if spec.node == node)
                return found(node, self.engines.get(node), stages)
            case "let_go", (node,):
                self.let_go.append(str(node))
            case "give_artifact", (node, _, sha):
                self.given.append((str(node), str(sha)))
            case "call", (_, "load_stage", StageSpec() as spec):
                if spec.stage in self.faults:
                    raise self.faults[spec.stage]
                self.held[spec.deployment, spec.epoch, spec.stage] = spec
                return Loaded(seconds=0.1, inputs=(), outputs=())
            case "call", (_, "drop_stage", deployment, epoch, stage):
                return self.held.pop((deployment, epoch, stage), None) is not None
            case "call", (node, "shape", *shaped):
                self.shaped[str(node)] = tuple(shaped)
        return None


def fleet_of(agent: FakeAgent, *, emulated: bool = True) -> Fleet:
    """A fleet all of whose nodes are that agent's."""

    async def find_agent(_node: Node) -> AgentHandle:
        return agent

    return Fleet(find_agent, emulated=emulated)
