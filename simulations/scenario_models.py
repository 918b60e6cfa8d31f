"""The shape of a scenario's YAML: keys, units and bounds. What entries mean together is scenario_check.py's to say."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from orchestrator.topology_spec import NAME
from orchestrator.yaml_file import StrictModel
from simulations.arrivals import MOST_PER_S
from simulations.radio.scheduling import Scheduler


def _named(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r}: a name is letters, digits, '.', '-' and '_', at most 63, the first no sign")
    return name


def _worded(site: Any) -> Any:
    """Sites are often named by numbers."""
    return str(site) if isinstance(site, int) and not isinstance(site, bool) else site


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, AfterValidator(_named)]
Site = Annotated[str, BeforeValidator(_worded)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Ends = Annotated[list[str], Field(min_length=2, max_length=2)]


class LayersModel(StrictModel):
    """Spatial layers a user gets each way."""

    down: Annotated[int, Field(ge=1, le=8)] = 2
    up: Annotated[int, Field(ge=1, le=4)] = 1


class BlockErrorsModel(StrictModel):
    """Files with block error curves, in place of those that are built in; of either way or both."""

    down: str | None = None
    up: str | None = None

    @model_validator(mode="after")
    def _any(self) -> "BlockErrorsModel":
        if self.down is None and self.up is None:
            raise ValueError("names no file; give down, up or both")
        return self


class BandModel(StrictModel):
    """A cell's radio. Without `power_dbm` it sends as much as its surroundings allow (44 dBm UMi, 49 dBm UMa)."""

    ghz: Annotated[float, Field(ge=0.5, le=100)]
    mhz: Count
    spacing_khz: Literal[15, 30, 60, 120] = 30
    layers: LayersModel = Field(default_factory=LayersModel)
    down_share: Annotated[float, Field(gt=0, le=1)] = 0.74
    up_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    power_dbm: float | None = None
    block_errors: BlockErrorsModel | None = None


class WaveringModel(StrictModel):
    """A rate that wanders: `variation` is its coefficient of variation, `memory_s` how long it remembers."""

    mean_mbps: Positive
    variation: NotNegative = 0.5
    memory_s: Positive = 10.0
    outage: Share = 0.0
    outage_s: Positive = 5.0


class TraceModel(StrictModel):
    """A recorded rate, or one drawn like it; `up` and `down` are drawn instead, where they are given."""

    file: str | None = None
    like: str | None = None
    up: WaveringModel | None = None
    down: WaveringModel | None = None

    @model_validator(mode="after")
    def _each_way_once(self) -> "TraceModel":
        if self.file is not None and self.like is not None:
            raise ValueError("file is played as it is, like is drawn anew; keep one")
        if self.up is None or self.down is None:
            if self.source is None:
                raise ValueError("a trace is a file, like a file, or up and down as {mean_mbps, variation, memory_s}")
        elif self.source is not None:
            raise ValueError(f"up and down are both given, so {self.source} plays no part; leave one of the three out")
        return self

    @property
    def source(self) -> Literal["file", "like"] | None:
        """The key that names a recorded trace, if one does."""
        return "file" if self.file is not None else "like" if self.like is not None else None


class PlacesModel(StrictModel):
    """A file of sites, around `origin` ([latitude, longitude]) or their own middle."""

    file: str
    origin: Pair | None = None


class CellModel(StrictModel):
    """One entry of `cells`: a `band`, or a `trace` of what users got; at a place, or at a site of `places`."""

    name: Name
    at_m: Pair = Field(default_factory=lambda: [0.0, 0.0])
    site: Site | None = None
    band: BandModel | None = None
    trace: TraceModel | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "CellModel":
        if (self.band is None) == (self.trace is None):
            raise ValueError("a cell has a band or a trace")
        return self


class RadioModel(StrictModel):
    """What all cells share."""

    surroundings: Literal["UMi", "UMa"] = "UMi"
    generation: Literal["LTE", "NSA", "SA"] = "NSA"
    scheduler: Scheduler = "round-robin"
    step_s: Annotated[float, Field(gt=0, le=10)] = 0.5
    core_ms: NotNegative = 4.0


class BatchModel(StrictModel):
    """As stages batch live."""

    max: Count = 1
    preferred: list[Count] = Field(default_factory=list)
    delay_ms: NotNegative = 0.0


class PowerModel(StrictModel):
    """What a node's GPUs draw in one step of a model, as measured: `size` tokens or sequences at once."""

    file: str
    hardware: str
    model: str
    gpus: Count
    phase: Literal["prompt", "token"]
    size: Positive
    tdp_w: dict[str, Positive] = Field(default_factory=dict)


class MachineModel(StrictModel):
    """One entry of `nodes`. Its measured times are those of the class `like`, divided by `speed`."""

    name: Name
    tier: Literal["device", "edge", "cloud"]
    like: str
    speed: Positive = 1.0
    servers: Count = 1
    batch: BatchModel = Field(default_factory=BatchModel)
    queue_limit: Count = 1024
    memory_mb: Positive | None = None
    idle_w: NotNegative = 0.0
    active_w: NotNegative = 0.0
    power: PowerModel | None = None
    usd_per_hour: NotNegative = 0.0
    at_m: Pair | None = None


class WireModel(StrictModel):
    """One entry of `links`: both directions."""

    between: Ends
    mbps: Positive
    back_mbps: Positive | None = None
    rtt_ms: NotNegative
    j_per_mb: NotNegative = 0.0
    usd_per_gb: NotNegative = 0.0


class StepModel(StrictModel):
    """A step of a chain: milliseconds by class of node, and what it makes."""

    name: Name
    ms: Annotated[dict[str, NotNegative], Field(min_length=1)]
    out_kb: Positive
    weights_mb: NotNegative = 0.0


class PipelineModel(StrictModel):
    """One entry of `pipelines`: a measured `model`, or `steps` by hand."""

    name: Name
    model: str | None = None
    profile: str | None = None
    input_kb: Positive | None = None
    steps: list[StepModel] = Field(default_factory=list)
    private: bool = False
    max_error: Annotated[float, Field(ge=0, le=1)] = 0.0
    objective: Literal["latency", "energy", "cost"] = "latency"
    standby_mb: NotNegative = 256.0
    variation: NotNegative = 0.0
    replicas: Count = 1

    @model_validator(mode="after")
    def _one_of_both(self) -> "PipelineModel":
        if (self.model is None) == (not self.steps):
            raise ValueError("a pipeline has a model, or steps by hand")
        if self.steps and self.input_kb is None:
            raise ValueError("steps by hand need input_kb")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError("two steps have one name; give each its own")
        return self

    @property
    def classes(self) -> set[str]:
        """The classes of nodes for which every step has a time; none of a measured pipeline."""
        return set.intersection(*(set(step.ms) for step in self.steps)) if self.steps else set()


class MovingModel(StrictModel):
    """How a group moves within `area_m`: [west, south, east, north]."""

    kind: Literal["standing", "waypoints", "streets", "path"] = "standing"
    area_m: Annotated[list[float], Field(min_length=4, max_length=4)]
    speeds_mps: Pair | None = None
    rest_s: NotNegative = 0.0
    block_m: Positive | None = None
    points: list[Annotated[list[float], Field(min_length=3, max_length=3)]] = Field(default_factory=list)
    spacing_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _what_it_needs(self) -> "MovingModel":
        west, south, east, north = self.area_m
        if not (west < east and south < north):
            raise ValueError(f"area_m is [west, south, east, north], is {self.area_m}")
        needs = {"waypoints": ("speeds_mps",), "streets": ("speeds_mps", "block_m"), "path": ("points",)}
        for key in needs.get(self.kind, ()):
            if not getattr(self, key):
                raise ValueError(f"{self.kind} needs {key}")
        return self


class AskingModel(StrictModel):
    """When each user of a group asks."""

    kind: Literal["poisson", "on-off", "diurnal", "regular", "recorded"] = "poisson"
    per_s: Annotated[float, Field(gt=0, le=MOST_PER_S)] | None = None
    on_s: Positive | None = None
    off_s: Positive | None = None
    swing: Annotated[float, Field(ge=0, le=1)] = 0.5
    period_s: Positive = 86_400.0
    peak_s: float = 0.0
    file: str | None = None

    @model_validator(mode="after")
    def _what_it_needs(self) -> "AskingModel":
        needs = {"on-off": ("per_s", "on_s", "off_s"), "recorded": ("file",)}
        for key in needs.get(self.kind, ("per_s",)):
            if getattr(self, key) is None:
                raise ValueError(f"{self.kind} needs {key}")
        return self


class GroupModel(StrictModel):
    """One entry of `users`."""

    name: Name
    count: Count
    device: str
    pipeline: str
    moving: MovingModel
    asking: AskingModel
    deadline_ms: Positive
    budget_ms: Positive | None = None
    priority: Annotated[int, Field(ge=0, le=100)] = 0


class ChangeModel(StrictModel):
    """One entry of `timeline`: a link, a node or a group, and what becomes of it."""

    at_s: NotNegative
    link: Ends | None = None
    mbps: Positive | None = None
    rtt_ms: NotNegative | None = None
    node: str | None = None
    is_: Literal["up", "down"] | None = Field(default=None, alias="is")
    users: str | None = None
    ask_times: Positive | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> "ChangeModel":
        if sum(what is not None for what in (self.link, self.node, self.users)) != 1:
            raise ValueError("a change is of one thing: a link, a node or users")
        says = {
            "link": self.mbps is not None or self.rtt_ms is not None or self.is_ is not None,
            "node": self.is_ is not None,
            "users": self.ask_times is not None,
        }
        what = "link" if self.link else "node" if self.node else "users"
        if not says[what]:
            wanted = {"link": "mbps, rtt_ms or is: up|down", "node": "is: up|down", "users": "ask_times"}[what]
            raise ValueError(f"say what becomes of it: {wanted}")
        return self


class PolicyModel(StrictModel):
    """Who decides."""

    kind: Literal["adaptive", "static", "device", "edge", "cloud"] = "adaptive"
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.15
    min_dwell_s: NotNegative = 10.0
    drift: Positive = 0.25
    every_s: Annotated[float, Field(ge=1)] = 1.0
    rule: str | None = None


class ScenarioModel(StrictModel):
    """The whole file."""

    name: Name
    about: str = ""
    seed: Annotated[int, Field(ge=0)] = 1
    replications: Count = 5
    duration_s: Positive
    warmup_s: NotNegative = 0.0
    radio: RadioModel = Field(default_factory=RadioModel)
    places: PlacesModel | None = None
    cells: Annotated[list[CellModel], Field(min_length=1)]
    nodes: Annotated[list[MachineModel], Field(min_length=1)]
    links: list[WireModel] = Field(default_factory=list)
    pipelines: Annotated[list[PipelineModel], Field(min_length=1)]
    users: Annotated[list[GroupModel], Field(min_length=1)]
    timeline: list[ChangeModel] = Field(default_factory=list)
    policy: PolicyModel = Field(default_factory=PolicyModel)
