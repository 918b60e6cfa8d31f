"""What is simulated, as values: cells, machines, wires between them, users, pipelines, and what happens when.

Everything is SI; scenario_file.py reads it from YAML. Nothing here draws lots or opens a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nodes.batching import BatchRules
from partitioner.topology import Node
from simulations.radio.access import Generation
from simulations.radio.network import Station
from simulations.radio.scheduling import Scheduler
from simulations.traces.link_trace import LinkTrace
from simulations.traces.markov import MarkovModel

PolicyKind = Literal["adaptive", "static", "device", "edge", "cloud"]
Point = tuple[float, float]  # east and north, metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Wavering:
    """A rate that wanders as a log-normal process does: mean, coefficient of variation, and how long it remembers.

    Gauss-Markov in the logarithm (first order), in steps of a second; `outage` of the time nothing passes, in spells
    of `outage_s` on average (Gilbert, 1960).
    """

    mean_bits_per_s: float
    variation: float
    memory_s: float
    outage: float = 0.0
    outage_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedLink:
    """A cell whose rate is what a trace says: a user's who transfers alone, in equal parts that of more at once.

    A wavering one, or one of a model of recorded ones, is drawn for each replication; of one model both ways are alike.
    """

    up: LinkTrace | Wavering | MarkovModel
    down: LinkTrace | Wavering | MarkovModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A base station by its radio, or by a trace of what users got."""

    name: str
    at_m: Point
    station: Station | None = None
    traced: TracedLink | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node: `servers` runs at once, each of one batch. One of tier DEVICE is a kind of which each user has its own.

    `profiled_as` names the class of node whose measured times it has, divided by `speed`.
    """

    node: Node
    profiled_as: str
    speed: float = 1.0
    servers: int = 1
    rules: BatchRules = field(default_factory=BatchRules)
    at_m: Point | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One direction of the backhaul, between cells and nodes by name."""

    source: str
    target: str
    bits_per_s: float
    propagation_s: float
    j_per_byte: float = 0.0
    usd_per_byte: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a chain written by hand: seconds on each class of node, and the bytes that it makes."""

    name: str
    seconds: Mapping[str, float]
    out_bytes: int
    weights_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What requests want: a model with its measured profile, by file, or a chain of steps written by hand.

    `variation` is the coefficient of variation of every stage's time, drawn log-normal; 0 for none. A stage may run on
    up to `replicas` nodes of one tier, as its load wants.
    """

    name: str
    model: Path | None = None
    profile: Path | None = None
    input_bytes: int = 0
    steps: tuple[Step, ...] = ()
    private: bool = False
    max_error: float = 0.0
    objective: str = "latency"
    standby_bytes: int = 256_000_000
    variation: float = 0.0
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """How users of a group move, in `area` (west, south, east, north; metres)."""

    kind: Literal["standing", "waypoints", "streets", "path"]
    area: tuple[float, float, float, float]
    speeds: tuple[float, float] = (0.0, 0.0)
    rest_s: float = 0.0
    block_m: float = 0.0
    path: tuple[tuple[float, float, float], ...] = ()  # seconds, east, north
    spacing_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """When users of a group ask: all of them at `per_s` each, or as recorded, dealt out in turn."""

    kind: Literal["poisson", "on-off", "diurnal", "recorded", "regular"]
    per_s: float = 0.0
    on_s: float = 0.0
    off_s: float = 0.0
    swing: float = 0.0
    period_s: float = 86_400.0
    peak_s: float = 0.0
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Users who are alike. An answer after `deadline_s` is late; after `budget_s` nobody waits for it any more.

    At machines those of the least `priority` go first.
    """

    name: str
    count: int
    device: str
    pipeline: str
    moving: Moving
    asking: Asking
    deadline_s: float
    budget_s: float
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """At `at_s` a wire gets another rate (0: it is down), or a node is lost or back, or a group asks more or less."""

    at_s: float
    wire: tuple[str, str] | None = None
    bits_per_s: float | None = None
    propagation_s: float | None = None
    node: str | None = None
    is_up: bool = True
    group: str | None = None
    times: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who decides: the live control core ("adaptive"), the same but never again ("static"), or one tier for all.

    `rule` (FILE.py:FUNCTION, in `folder`) judges plans in place of the core's own.
    """

    kind: PolicyKind = "adaptive"
    min_gain: float = 0.15
    min_dwell_s: float = 10.0
    drift: float = 0.25
    every_s: float = 1.0
    rule: str | None = None
    folder: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The whole of it. Figures count requests that came after `warmup_s`; `core_s` is the mobile core's, one way."""

    name: str
    cells: tuple[Cell, ...]
    machines: tuple[Machine, ...]
    wires: tuple[Wire, ...]
    pipelines: tuple[Pipeline, ...]
    groups: tuple[Group, ...]
    generation: Generation
    duration_s: float
    warmup_s: float = 0.0
    step_s: float = 0.5
    core_s: float = 0.004
    scheduler: Scheduler = "round-robin"
    seed: int = 1
    replications: int = 5
    changes: tuple[Change, ...] = ()
    policy: Policy = field(default_factory=Policy)
    about: str = ""
    remarks: tuple[str, ...] = ()  # what was done to make sense of its files, a line each
