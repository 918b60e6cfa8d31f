"""The workers of a cluster by node name: brought up through their hosts' agents, and called through them.

Knows agents only as things with awaitable methods; ray_shell.py supplies those. Decides nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nodes.artifact import MANIFEST, read
from nodes.emulation import ShapedLink
from nodes.errors import NodesError
from nodes.stage_spec import StageSpec
from orchestrator.agent import WorkerFound, WorkerWanted
from orchestrator.blueprint import engine_keys
from orchestrator.errors import ClusterError, OrchestratorError
from orchestrator.routes import Reach
from orchestrator.whereabouts import Whereabouts
from partitioner.profile import EngineKey
from partitioner.topology import Link, Node, NodeId, Tier, Topology

ANSWER_S = 4.0  # a worker that says nothing for so long is not there, or its network is not
REACH_S, REJOIN_S = 10.0, 60.0


class AgentHandle(Protocol):
    """One host's agent, wherever it runs. `host` names the host; `shares_disk`: our paths are valid there."""

    host: str
    shares_disk: bool

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of `orchestrator.agent.Agent` by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node's worker, the agent that speaks to it, and what the agent was asked for."""

    found: WorkerFound
    agent: AgentHandle
    wanted: WorkerWanted

    @property
    def key(self) -> str:
        """What the agent knows it by."""
        return self.found.key or self.wanted.node


class Fleet:
    """Every worker that the controller holds. `find_agent(node)` gives the agent for a topology node."""

    def __init__(
        self,
        find_agent: Callable[[Node], Awaitable[AgentHandle]],
        *,
        emulated: bool,
        whereabouts: Whereabouts | None = None,
    ) -> None:
        self.emulated = emulated
        self._find_agent = find_agent
        self._whereabouts = whereabouts or Whereabouts()
        self._afar: dict[
            NodeId, tuple[Node, Member]
        ] = {}  # spoken to from here while their own hosts' agents can't be had
        self._members: dict[NodeId, Member] = {}
        self._stayed: dict[tuple[NodeId, str, int], Member] = {}  # node, deployment, epoch
        self._stages: dict[
            tuple[NodeId, str, int, str], StageSpec
        ] = {}  # that are held: node, deployment, epoch, stage
        self._links: dict[tuple[NodeId, NodeId], Link] = {}

    async def bring_up(self, topology: Topology) -> None:
        """A claimed worker for each node, and on one machine emulated links. ClusterError names what fails."""
        self._check(topology)
        missing = [node for node in topology.nodes if node.name not in self._members]
        agents = [await self._find_agent(node) for node in missing]
        results = await asyncio.gather(
            *(self._join(node, agent) for node, agent in zip(missing, agents, strict=True)), return_exceptions=True
        )
        faults = [result for result in results if isinstance(result, BaseException)]
        if faults:
            raise faults[0]
        if self.emulated:
            await self.shape(topology.links)

    async def adopt(self, topology: Topology) -> dict[NodeId, str]:
        """Claim the workers that an earlier controller left, with all that they hold; which can't be had, and why."""
        wanted = [node for node in topology.nodes if node.name not in self._members]
        results = await asyncio.gather(*(self._adopt(node) for node in wanted))
        if self.emulated:
            await self.shape(topology.links)
        return {node.name: why for node, why in zip(wanted, results, strict=True) if why}

    async def _adopt(self, node: Node) -> str:
        try:
            await asyncio.wait_for(self._rejoined(node), REJOIN_S)
        except TimeoutError:
            why = f"its host does not answer within {REJOIN_S:g} s"
        except (NodesError, OrchestratorError) as error:
            why = str(error)
        else:
            return ""
        return "" if await self._adopted_from_afar(node) else why

    async def _adopted_from_afar(self, node: Node) -> bool:
        """Claim a worker where an earlier controller reached it: it answers though its host is not in Ray yet."""
        address = self._whereabouts.last(node.name)
        if self.emulated or node.address is not None or address is None:
            return False
        try:
            agent = await self._find_agent(replace(node, address=address))
            await asyncio.wait_for(self._join(node, agent, at=address), REACH_S)
        except (TimeoutError, NodesError, OrchestratorError):
            return False  # why its own host can't be had is told instead
        self._afar[node.name] = node, self._members[node.name]
        return True

    async def come_home(self) -> None:
        """Workers that were claimed from afar are spoken to through their own hosts again, where these are back."""
        for name, (node, member) in list(self._afar.items()):
            try:
                agent = await asyncio.wait_for(self._reached(node), REACH_S)
                if name not in self._afar:
                    continue  # lost meanwhile: whoever brings it back asks its own host
                await asyncio.wait_for(self._join(node, agent), REACH_S)
                await member.agent.run("let_go", member.key)
            except (TimeoutError, NodesError, OrchestratorError):
                continue  # not yet; it answers from afar, or its loss is noticed there
            self._afar.pop(name, None)

    async def _rejoined(self, node: Node) -> None:
        await self._join(node, await self._find_agent(node))

    async def rejoin(self, node: Node) -> None:
        """Find or start the worker of a node whose worker was lost; what it still holds is dropped.

        ClusterError or a NodesError while it can't be had.
        """
        self.lose(node.name)
        try:
            agent = await asyncio.wait_for(self._reached(node), REACH_S)
            await asyncio.wait_for(self._rejoin(node, agent), REJOIN_S)
        except TimeoutError:
            raise ClusterError(f"node {node.name}: its host does not answer") from None

    async def _reached(self, node: Node) -> AgentHandle:
        """The agent of a host that answers now: what is asked over a cut cable may never be answered."""
        agent = await self._find_agent(node)
        await agent.run("answer")
        return agent

    async def _rejoin(self, node: Node, agent: AgentHandle) -> None:
        await self._join(node, agent, again=True)
        for held in self.member(node.name).found.claimed.stages:
            await self.call(node.name, "drop_stage", held.deployment, held.epoch, held.stage, drain_s=0.0)
        if self.emulated:
            await self.call(node.name, "shape", *self.emulation())

    async def _join(self, node: Node, agent: AgentHandle, *, again: bool = False, at: str | None = None) -> None:
        """Have the node's worker: started where need be, or as it runs at an address."""
        wanted = WorkerWanted(node=node.name, address=node.address, emulated=self.emulated, again=again)
        found: WorkerFound = await agent.run("ensure", wanted if at is None else replace(wanted, address=at))
        self._members[node.name] = Member(found=found, agent=agent, wanted=wanted)
        self._whereabouts.note(node.name, found.reach.address)
        for held in found.claimed.stages:
            self.note_loaded(held)
        known = set(node.backends) & _installed(found)
        if not known:
            lacking = "; ".join(str(found.engines.get(name, {}).get("missing", name)) for name in node.backends)
            raise ClusterError(
                f"node {node.name}: none of its backends {', '.join(node.backends)} runs there: {lacking}"
            )

    def _check(self, topology: Topology) -> None:
        if self.emulated:
            return
        for node in topology.nodes:
            if node.slowdown != 1:
                raise ClusterError(f"node {node.name}: slowdown is for one machine only; leave it out on a cluster")

    def members(self) -> Mapping[NodeId, Member]:
        """Each node's worker."""
        return dict(self._members)

    def member(self, node: NodeId) -> Member:
        """The worker of a node; ClusterError if none is held."""
        if node not in self._members:
            raise ClusterError(f"no worker of node {node} is held; deploy to it first")
        return self._members[node]

    def move(self, node: NodeId, to: Member, epochs: Iterable[tuple[str, int]]) -> None:
        """A node's worker is this one from now on; these epochs (deployment, number) stay where they were loaded."""
        before = self.member(node)
        self._stayed |= {(node, *epoch): before for epoch in epochs if (node, *epoch) not in self._stayed}
        self._stayed = {where: member for where, member in self._stayed.items() if member is not to}
        self._members[node] = to
        self._whereabouts.note(node, to.found.reach.address)

    def stayed(self, node: NodeId) -> list[tuple[str, int]]:
        """The epochs that stayed where they were when a node's worker was replaced."""
        return [(name, epoch) for where, name, epoch in self._stayed if where == node]

    def settle(self, node: NodeId) -> None:
        """Nothing is left on the worker that a node had before."""
        self._stayed = {where: member for where, member in self._stayed.items() if where[0] != node}

    def reach(self, node: NodeId, deployment: str, epoch: int) -> Reach:
        """How to reach the worker of a node that runs this epoch."""
        return (self._stayed.get((node, deployment, epoch)) or self.member(node)).found.reach

    def rows(self, node: NodeId, deployment: str, epoch: int, stage: str) -> int:
        """How many rows a request may have at this stage; 1 where it takes no other number than it was made for."""
        held = self._stages.get((node, deployment, epoch, stage))
        return 1 if held is None else held.max_batch

    def takes_lengths(self, node: NodeId, deployment: str, epoch: int, stage: str) -> bool:
        """Whether this stage takes every length of its model, not the largest only."""
        held = self._stages.get((node, deployment, epoch, stage))
        return held is not None and held.any_length

    def note_loaded(self, spec: StageSpec) -> None:
        """A worker holds this stage."""
        self._stages[spec.node, spec.deployment, spec.epoch, spec.stage] = spec

    def note_dropped(self, node: NodeId, deployment: str, epoch: int, stage: str) -> None:
        """It does so no more."""
        self._stages.pop((node, deployment, epoch, stage), None)

    async def call(self, node: NodeId, method: str, *args: Any, **options: Any) -> Any:
        """A control method of a node's worker; a stage is dropped where it was loaded."""
        stayed = self._stayed.get((node, *args[:2])) if method == "drop_stage" else None
        member = stayed or self.member(node)
        return await member.agent.run("call", member.key, method, *args, **options)

    async def silent(self) -> dict[NodeId, str]:
        """Nodes whose worker does not answer, with why: a cut cable tells nobody of itself."""
        asked = self.members()
        faults = await asyncio.gather(*(self._fault(node) for node in asked))
        return {
            node: fault
            for (node, member), fault in zip(asked.items(), faults, strict=True)
            if fault is not None and self._members.get(node) is member
        }

    async def _fault(self, node: NodeId) -> str | None:
        try:
            await asyncio.wait_for(self.call(node, "health"), ANSWER_S)
        except TimeoutError:
            return f"no answer within {ANSWER_S:g} s"
        except (NodesError, OrchestratorError) as error:
            return str(error)
        return None

    async def give(self, node: NodeId, folder: Path, sha: str) -> None:
        """Have a node's worker hold an artifact that lies in a folder here."""
        agent, key = self.member(node).agent, self.member(node).key
        if agent.shares_disk:
            await agent.run("give_artifact", key, str(folder), sha)
        elif not await agent.run("call", key, "has_artifact", sha):
            names = (MANIFEST, *read(folder).files)
            files = {name: (folder / name).read_bytes() for name in names}
            await agent.run("take_artifact", key, files, sha)

    def engines(self, topology: Topology) -> dict[NodeId, tuple[EngineKey, ...]]:
        """The engines that each node offers and has installed. Nodes on one host share their measurements."""
        keys = {}
        for node in topology.nodes:
            member = self.member(node.name)
            where = member.agent.host if self.emulated else node.name
            keys[node.name] = engine_keys(node, where, _installed(member.found))
        return keys

    async def shape(self, links: Iterable[Link]) -> None:
        """Set the emulated links; those not named stay as they are."""
        self._links |= {(link.source, link.target): link for link in links}
        members = {member.key: member for member in (*self._members.values(), *self._stayed.values())}
        shaped = (member.agent.run("call", key, "shape", *self.emulation()) for key, member in members.items())
        await asyncio.gather(*shaped)

    def emulation(
        self,
    ) -> tuple[tuple[ShapedLink, ...], dict[tuple[NodeId, NodeId], tuple[tuple[NodeId, NodeId], ...]]]:
        """The emulated links and the route between every two nodes; empty off one machine."""
        if not self.emulated:
            return (), {}
        nodes = tuple(m.found.claimed.node for m in self._members.values())
        known = [link for link in self._links.values() if link.source in nodes and link.target in nodes]
        shaped = tuple(
            ShapedLink(
                source=link.source,
                target=link.target,
                bytes_per_s=link.bytes_per_s,
                propagation_s=link.propagation_s,
            )
            for link in known
        )
        topology = Topology(tuple(Node(name=name, tier=Tier.EDGE, backends=()) for name in nodes), tuple(known))
        paths = {}
        for source in nodes:
            for target in nodes:
                path = topology.path(source, target) if source != target else None
                if path is not None:
                    paths[source, target] = tuple((link.source, link.target) for link in path.links)
        return shaped, paths

    async def survey(self, nodes: tuple[Node, ...]) -> Topology:
        """The nodes with the engines that each has, and the links between every two as measured now."""
        await self.bring_up(Topology(nodes))
        known = tuple(replace(node, backends=tuple(sorted(_installed(self.member(node.name).found)))) for node in nodes)
        links = []
        for source in nodes:
            for target in nodes:
                if source.name != target.name:
                    reach = self.member(target.name).found.reach
                    rate, rtt_s = await self.member(source.name).agent.run("measure_link", source.name, reach)
                    links.append(
                        Link(source=source.name, target=target.name, bytes_per_s=rate, propagation_s=rtt_s / 2)
                    )
        return Topology(known, tuple(links))

    def lose(self, node: NodeId) -> None:
        """The node's worker is gone."""
        self._members.pop(node, None)
        self._afar.pop(node, None)

    async def stop(self) -> None:
        """End every worker."""
        agents = {id(m.agent): m.agent for m in self._members.values()}
        await asyncio.gather(*(agent.run("stop") for agent in agents.values()))
        self._members.clear()
        self._whereabouts.clear()


def _installed(found: WorkerFound) -> set[str]:
    return {name for name, facts in found.engines.items() if "missing" not in facts}
