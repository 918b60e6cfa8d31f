"""The question a solver answers: what to place, where it may run, and what must hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from partitioner.graph import Graph
from partitioner.profile import EngineKey, Profile
from partitioner.topology import NodeId, Topology


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Site:
    """One engine on one node: what a stage is assigned to."""

    node: NodeId
    engine: EngineKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Everything that `cost.evaluate` and the solvers need.

    `source` is the node where every input appears; `outputs_to` names the node each output returns to.
    Tensors in `private` (inputs and their pixel forms) stay on `source`. `pinned` fixes operators to nodes.
    `max_error` bounds each codec's output error; 0 allows only raw.
    """

    graph: Graph
    topology: Topology
    profile: Profile
    sites: tuple[Site, ...]
    source: NodeId
    outputs_to: Mapping[str, NodeId]
    private: frozenset[str] = frozenset()
    pinned: Mapping[str, NodeId] = field(default_factory=dict)
    max_error: float = 0.0
    codecs: tuple[str, ...] = ("raw",)
    cost_model: str = "additive"
