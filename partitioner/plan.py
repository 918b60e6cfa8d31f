"""A plan: stages on nodes, the crossings between them, predicted figures and a certificate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from partitioner.topology import NodeId

ROUTER = "router"  # the end of a crossing that is the request's own source


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A convex piece of the graph compiled as one unit; `operators` in graph order, tensors by name."""

    name: str
    node: NodeId
    backend: str
    precision: str
    operators: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights_bytes: int
    seconds: float
    measured: bool  # the segment itself was timed, rather than summed from operators
    std_s: float = 0.0  # how unsure `seconds` is where a fitted cost model told it (fitted.py)
    replicas: tuple[NodeId, ...] = ()  # further nodes that run it too, each with its share of the requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """One message: the tensors that go together from one stage to the next.

    `sender` and `receiver` are stage names, or ROUTER for the request's entry and the answer.
    `codecs` runs parallel to `tensors`; a tensor passed on undecoded keeps its codec.
    """

    sender: str
    receiver: str
    source: NodeId
    target: NodeId
    tensors: tuple[str, ...]
    codecs: tuple[str, ...]
    nbytes: int
    propagation_s: float
    transfer_s: float  # bytes over goodput
    codec_s: float
    software_s: float

    @property
    def seconds(self) -> float:
        """Seconds from the last stage's end to the next one's start."""
        return self.propagation_s + self.transfer_s + self.codec_s + self.software_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Figures of one request; None where the watts or prices they need are absent."""

    latency_s: float
    throughput_per_s: float
    energy_j: float | None = None
    cost_usd: float | None = None
    error: float = 0.0  # of the outputs, promised by the codecs chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is proven: for which objective and cost model, by which method, within which gap (relative)."""

    status: str  # "optimal" or "gap"
    objective: str
    cost_model: str
    lower_bound: float
    gap: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Stages in the order a request meets them, with what they are predicted to cost."""

    model: str
    stages: tuple[Stage, ...]
    crossings: tuple[Crossing, ...]
    predicted: Predicted
    certificate: Certificate | None = None  # None: an evaluated candidate, not a solver's answer
    unsplit_s: Mapping[NodeId, float | None] = field(default_factory=dict)
    reason: str = ""  # why split, or why not, in one sentence
    parallel: bool = False  # stages send straight to their readers and run side by side (Problem.parallel)

    @property
    def is_split(self) -> bool:
        """Whether more than one node computes."""
        return len({stage.node for stage in self.stages}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """No plan fits: the constraint that binds, and what was asked of it."""

    constraint: str  # "memory", "privacy", "operators", "reachability", "together", or a limit: "latency", "error"…
    detail: str
    proven: bool = True  # False: none was found, in the time there was or among the segments measured


def told(value: float, objective: str) -> str:
    """A figure of a plan as people read it: "12.3 ms", "80 answers/s", "0.5 J", "2e-05 USD"."""
    match objective:
        case "latency":
            return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
        case "throughput":  # seconds between two answers
            return f"{1 / value:.4g} answers/s" if value else "any number of answers/s"
        case "energy":
            return f"{value:.3g} J"
        case "cost":
            return f"{value:.3g} USD"
        case _:
            return f"{value:.3g}"
