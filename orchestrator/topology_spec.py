"""topology.yaml: nodes and links as people write them, and the Topology that they mean.

Units stand in the keys (mbps = 10⁶ bit/s, mb = 10⁶ bytes, ms); inside, everything is SI. It refuses what
contradicts itself, with the path in the file, and asks no machine anything.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nodes.backend import BACKENDS, Option
from orchestrator.errors import SpecError
from orchestrator.yaml_file import StrictModel, check, dotted, read_yaml
from partitioner.topology import Link, Node, Tier, Topology

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"  # fits a Ray label, a file name and a metric's label

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class NodeModel(StrictModel):
    """One entry of `nodes`."""

    name: Annotated[str, Field(pattern=NAME)]
    tier: Literal["device", "edge", "cloud"]
    backends: Annotated[list[str], Field(min_length=1)]
    threads: Annotated[int, Field(ge=1)] = 1
    slowdown: Annotated[float, Field(ge=1)] = 1.0
    memory_mb: Positive | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    address: str | None = None
    dials_only: bool = False
    idle_w: NotNegative | None = None
    active_w: NotNegative | None = None
    usd_per_hour: NotNegative | None = None
    purchase_usd: NotNegative | None = None
    engines: dict[str, dict[str, str | int | float | bool]] = Field(default_factory=dict)

    @field_validator("backends")
    @classmethod
    def _known_backends(cls, backends: list[str]) -> list[str]:
        for name in backends:
            if name not in BACKENDS:
                raise ValueError(f"no backend {name!r}; known are {', '.join(BACKENDS)}")
        return backends

    @field_validator("engines")
    @classmethod
    def _known_engines(cls, engines: dict[str, dict[str, Option]]) -> dict[str, dict[str, Option]]:
        for name in engines:
            if name not in BACKENDS:
                raise ValueError(f"no backend {name!r} to give options; known are {', '.join(BACKENDS)}")
        return engines

    @field_validator("dials_only")
    @classmethod
    def _not_dials_only(cls, dials_only: bool) -> bool:
        if dials_only:
            raise ValueError("a node that only dials out is not supported yet; let it accept connections")
        return dials_only


class RnisModel(StrictModel):
    """Who knows of a link's radio: `url` of an ETSI MEC 012 service, `ue` is the IPv4 address of `from` there."""

    url: Annotated[str, Field(pattern=r"^https?://[^/]+")]
    ue: Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]


class LinkModel(StrictModel):
    """One entry of `links`: both directions, alike unless `back_mbps` is given."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    goodput_mbps: Positive
    rtt_ms: NotNegative
    back_mbps: Positive | None = None
    jitter_ms: NotNegative = 0.0
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    j_per_mb: NotNegative | None = None
    usd_per_gb: NotNegative | None = None
    trusted: bool = True
    rnis: RnisModel | None = None


class TopologyModel(StrictModel):
    """The whole file."""

    nodes: Annotated[list[NodeModel], Field(min_length=1)]
    links: list[LinkModel] = Field(default_factory=list)


def load_topology(path: Path) -> Topology:
    """The topology in the file. SpecError, in one line, for whatever is wrong with it."""
    return parse_topology(read_yaml(path), where=str(path))


def parse_topology(data: Any, *, where: str, within: tuple[str, ...] = ()) -> Topology:
    """The topology that `data` (as YAML gives it) means; `where` and `within` say where it stood."""
    model = check(TopologyModel, data, where=where, within=within)
    _check_names(model, where, within)
    topology = Topology(
        nodes=tuple(_node(node) for node in model.nodes),
        links=tuple(link for entry in model.links for link in _both_directions(entry)),
    )
    _check_reachable(topology, where, within)
    return topology


def topology_to_plain(topology: Topology) -> dict[str, Any]:
    """The topology as the file would hold it, for writing one; links back are folded into those forth."""
    links: dict[tuple[str, str], dict[str, Any]] = {}
    for link in topology.links:
        forth = links.get((link.target, link.source))
        mbps = link.bytes_per_s * 8e-6
        if forth is None:
            entry = {"from": link.source, "to": link.target, "goodput_mbps": mbps, "rtt_ms": link.propagation_s * 2e3}
            rnis = None if link.rnis is None else dict(zip(("url", "ue"), link.rnis, strict=True))
            links[link.source, link.target] = entry | _set(jitter_ms=link.jitter_s * 1e3, loss=link.loss, rnis=rnis)
        elif forth["goodput_mbps"] != mbps:
            forth["back_mbps"] = mbps
    return {"nodes": [_node_to_plain(node) for node in topology.nodes], "links": list(links.values())}


def _check_names(model: TopologyModel, where: str, within: tuple[str, ...]) -> None:
    names = [node.name for node in model.nodes]
    for index, name in enumerate(names):
        if name in names[:index]:
            path = dotted([*within, "nodes", index, "name"])
            raise SpecError(f"{where}: {path}: node {name!r} is listed twice; give each node its own name")
    joined: list[list[str]] = []
    for index, link in enumerate(model.links):
        path = dotted([*within, "links", index])
        for key, end in (("from", link.source), ("to", link.target)):
            if end not in names:
                raise SpecError(f"{where}: {path}.{key}: no node {end!r}; nodes are {', '.join(names)}")
        if link.source == link.target:
            raise SpecError(f"{where}: {path}: a link joins two different nodes, this one {link.source!r} to itself")
        ends = sorted((link.source, link.target))
        if ends in joined:
            raise SpecError(
                f"{where}: {path}: {ends[0]} and {ends[1]} are joined twice; keep one (back_mbps: is the way back)"
            )
        joined.append(ends)


def _check_reachable(topology: Topology, where: str, within: tuple[str, ...]) -> None:
    """Every link goes both ways, so what the first node reaches is what every node reaches."""
    first = topology.nodes[0].name
    for index, node in enumerate(topology.nodes):
        if topology.path(first, node.name) is None:
            path = dotted([*within, "nodes", index])
            raise SpecError(
                f"{where}: {path}: no path leads from {first} to {node.name}; add a link or remove the node"
            )


def _node(node: NodeModel) -> Node:
    return Node(
        name=node.name,
        tier=Tier[node.tier.upper()],
        backends=tuple(node.backends),
        threads=node.threads,
        memory_bytes=None if node.memory_mb is None else round(node.memory_mb * 1e6),
        slowdown=node.slowdown,
        labels=tuple(node.labels.items()),
        address=node.address,
        idle_w=node.idle_w,
        active_w=node.active_w,
        usd_per_hour=node.usd_per_hour,
        purchase_usd=node.purchase_usd,
        engines=tuple((name, tuple(options.items())) for name, options in node.engines.items()),
    )


def _both_directions(link: LinkModel) -> tuple[Link, Link]:
    back_mbps = link.goodput_mbps if link.back_mbps is None else link.back_mbps
    forth, back = (
        Link(
            source=source,
            target=target,
            bytes_per_s=mbps * 1e6 / 8,
            propagation_s=link.rtt_ms / 2e3,
            jitter_s=link.jitter_ms / 1e3,
            loss=link.loss,
            j_per_byte=None if link.j_per_mb is None else link.j_per_mb / 1e6,
            usd_per_byte=None if link.usd_per_gb is None else link.usd_per_gb / 1e9,
            trusted=link.trusted,
            rnis=(link.rnis.url, link.rnis.ue) if link.rnis is not None and source == link.source else None,
        )
        for (source, target), mbps in zip(
            pairwise((link.source, link.target, link.source)), (link.goodput_mbps, back_mbps), strict=True
        )
    )
    return forth, back


def _node_to_plain(node: Node) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": node.name, "tier": node.tier.name.lower(), "backends": list(node.backends)}
    entry |= {"threads": node.threads}
    entry |= {} if node.slowdown == 1 else {"slowdown": node.slowdown}
    entry |= {} if node.memory_bytes is None else {"memory_mb": node.memory_bytes / 1e6}
    engines = {name: dict(options) for name, options in node.engines}
    return entry | _set(labels=dict(node.labels), address=node.address, engines=engines)


def _set(**entries: Any) -> dict[str, Any]:
    """Those entries that say anything."""
    return {key: value for key, value in entries.items() if value}
