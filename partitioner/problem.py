"""The question a solver answers: what to place, where it may run, and what must hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from partitioner.errors import InvalidProblem
from partitioner.graph import Graph
from partitioner.profile import EngineKey, Profile
from partitioner.topology import NodeId, Tier, Topology


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Site:
    """One engine on one node: what a stage is assigned to."""

    node: NodeId
    engine: EngineKey


OBJECTIVES = ("latency", "throughput", "energy", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may take at most for each request (`throughput_per_s`: must do at least); None asks for nothing.

    `error` bounds the sum over everything that crosses, whereas `Problem.max_error` bounds each tensor's codec alone.
    """

    latency_s: float | None = None
    throughput_per_s: float | None = None
    energy_j: float | None = None
    cost_usd: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("latency_s", self.latency_s), ("throughput_per_s", self.throughput_per_s)):
            if value is not None and not 0 < value < inf:
                raise InvalidProblem(f"limit {name} should be above 0 and finite, is {value:g}")
        for name, value in (("energy_j", self.energy_j), ("cost_usd", self.cost_usd), ("error", self.error)):
            if value is not None and not 0 <= value < inf:
                raise InvalidProblem(f"limit {name} should be 0 or more and finite, is {value:g}")

    @property
    def none(self) -> bool:
        """Whether any plan is within them."""
        return self == Limits()


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Everything that `cost.evaluate` and the solvers need.

    `source` is the node where every input appears; `outputs_to` names the node each output returns to.
    Tensors in `private` (inputs and their pixel forms) stay on `source`, or where `homes` has them; those of `within`
    on nodes of that tier or a lower one (nodes that only forward a message do not count). `pinned` fixes operators to
    nodes.
    `max_error` bounds each codec's output error; 0 allows only raw. Operators of one group in `together` share a stage.
    `forward_only`: data goes up the tiers and never comes back down, but for the answer. `parallel`: branches run on
    several nodes at once and stages send to whoever reads (makespan.py); else a request goes from stage to stage.
    `serialised`: a node neither computes while it sends or receives; it concerns throughput alone, as does
    `most_replicas`, on how many equal nodes a stage may run.
    """

    graph: Graph
    topology: Topology
    profile: Profile
    sites: tuple[Site, ...]
    source: NodeId
    outputs_to: Mapping[str, NodeId]
    private: frozenset[str] = frozenset()
    within: Mapping[str, Tier] = field(default_factory=dict)
    pinned: Mapping[str, NodeId] = field(default_factory=dict)
    max_error: float = 0.0
    codecs: tuple[str, ...] = ("raw",)
    cost_model: str = "additive"
    objective: str = "latency"  # one of OBJECTIVES
    limits: Limits = NO_LIMITS
    together: tuple[tuple[str, ...], ...] = ()
    forward_only: bool = True
    parallel: bool = False
    serialised: bool = False
    most_replicas: int = 1
    homes: Mapping[str, NodeId] = field(default_factory=dict)

    def home_of(self, tensor: str) -> NodeId:
        """Where a private tensor stays."""
        return self.homes.get(tensor, self.source)

    def may_be_on(self, tensor: str, node: NodeId) -> bool:
        """Whether privacy lets the tensor be on that node."""
        if tensor in self.private and node != self.home_of(tensor):
            return False
        return tensor not in self.within or self.topology.node(node).tier <= self.within[tensor]

    @property
    def kept(self) -> tuple[str, ...]:
        """The tensors that may not be everywhere."""
        return tuple(sorted({*self.private, *self.within}))
