"""A deployment's YAML file as pydantic reads it; spec.py says what it means."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nodes.codec import CODECS
from orchestrator.aligning.terms import AlignModel
from orchestrator.batching import BatchingModel
from orchestrator.padding import PadModel
from orchestrator.pipeline_spec import STEP_NAME
from orchestrator.sequence_terms import SequenceModel
from orchestrator.topology_spec import NAME
from orchestrator.yaml_file import StrictModel
from partitioner.graph import DTYPE_BYTES
from partitioner.problem import Limits

FRACTION = Field(ge=0, le=1)
MOST_REPLICAS = 16
STANDBY_MB = 256.0  # of each node's memory, for plans that are kept loaded in case they are needed
Positive = Annotated[float, Field(gt=0)]


class PrivacyModel(StrictModel):
    """How private an input is: not, wholly, until an operator whose output may leave, within a tier."""

    always: bool = False
    until: str | None = None
    within: Literal["device", "edge"] | None = None


class InputModel(StrictModel):
    """One entry of `inputs`."""

    at: str
    shape: list[Annotated[int, Field(ge=1)] | None] | None = None
    dtype: str | None = None
    private: PrivacyModel = Field(default_factory=PrivacyModel)
    pad: PadModel | None = None
    samples: str | None = None

    @field_validator("private", mode="before")
    @classmethod
    def _any_form(cls, private: Any) -> Any:
        if isinstance(private, bool):
            return {"always": private}
        if isinstance(private, dict) and private and set(private) <= {"until", "within"}:
            return private
        raise ValueError(f"should be true, false or {{until: OPERATOR, within: TIER}} or one of them, is {private!r}")

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, dtype: str | None) -> str | None:
        if dtype is not None and dtype not in DTYPE_BYTES:
            raise ValueError(f"no dtype {dtype!r}; known are {', '.join(DTYPE_BYTES)}")
        return dtype


class OutputModel(StrictModel):
    """One entry of `outputs`: where it goes and, of a pipeline, the wire that it is; that alone may be said as text."""

    to: str | None = None
    wire: str | None = Field(default=None, alias="from")

    @model_validator(mode="before")
    @classmethod
    def _any_form(cls, given: Any) -> Any:
        return {"from": given} if isinstance(given, str) else given


class LimitsModel(StrictModel):
    """What a request may take at most (throughput: what there must be at least)."""

    latency_ms: Positive | None = None
    throughput_per_s: Positive | None = None
    energy_j: Positive | None = None
    cost_usd: Positive | None = None
    error: Annotated[float, FRACTION] | None = None

    def limits(self) -> Limits:
        """The same in SI units."""
        return Limits(
            latency_s=None if self.latency_ms is None else self.latency_ms / 1e3,
            throughput_per_s=self.throughput_per_s,
            energy_j=self.energy_j,
            cost_usd=self.cost_usd,
            error=self.error,
        )


class ReplicasModel(StrictModel):
    """On how many nodes at once a stage may run."""

    max: Annotated[int, Field(ge=1, le=MOST_REPLICAS)]


class DeploymentModel(StrictModel):
    """The whole file, but for `topology`, which may be a path."""

    name: Annotated[str, Field(pattern=NAME)]
    model: str | None = None
    steps: Annotated[dict[Annotated[str, Field(pattern=STEP_NAME)], Any], Field(min_length=1)] | None = None
    shared_models: Literal["apart", "batched", "best"] | None = None
    objective: Literal["latency", "throughput", "energy", "cost"] = "latency"
    limits: LimitsModel = Field(default_factory=LimitsModel)
    pinned: dict[str, str] = Field(default_factory=dict)
    together: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    forward_only: bool = True
    source: str | None = None
    parallel: bool | None = None
    max_error: Annotated[float, FRACTION] = 0.0
    codecs: list[str] | None = None
    standby_mb: Annotated[float, Field(ge=0)] = STANDBY_MB
    allow_nan: bool = False
    replicas: ReplicasModel | None = None
    batching: BatchingModel | None = None
    sequence: SequenceModel | None = None
    align: AlignModel | None = None
    inputs: Annotated[dict[str, InputModel], Field(min_length=1)]
    outputs: dict[str, OutputModel] = Field(default_factory=dict)

    @field_validator("codecs")
    @classmethod
    def _known_codecs(cls, codecs: list[str] | None) -> list[str] | None:
        for name in codecs or ():
            if name not in CODECS:
                raise ValueError(f"no codec {name!r}; known are {', '.join(CODECS)}")
        return codecs
