"""What the gateway answers over REST, as models: for its OpenAPI document. Answers are made by describing.py."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel


class Body(BaseModel):
    """An answer: these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class Error(Body):
    """Why there is no answer."""

    error: str


class Nothing(Body):
    """Done."""


class Document(BaseModel):
    """An OpenAPI document."""

    openapi: str


class Server(Body):
    """The server's metadata."""

    name: str
    version: str
    extensions: list[str]


class Live(Body):
    """Whether it is live."""

    live: bool


class AllReady(Body):
    """Whether all models are ready."""

    ready: bool


class Ready(Body):
    """Whether a model is ready."""

    name: str
    ready: bool


class Tensor(Body):
    """An input or output; -1 for an extent that may be any."""

    name: str
    datatype: str
    shape: list[int]


class Metadata(Body):
    """A model's."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ConfiguredTensor(Body):
    """An input or output as Triton's configurations have it."""

    name: str
    data_type: str
    dims: list[int]


class DynamicBatching(Body):
    """How requests share runs."""

    preferred_batch_size: list[int]
    max_queue_delay_microseconds: int
    priority_levels: int
    default_priority_level: int


class Policy(Body):
    """One answer a request."""

    decoupled: bool


class Config(Body):
    """A model's configuration."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    dynamic_batching: DynamicBatching | None = None
    model_transaction_policy: Policy


class Span(Body):
    """How often, and how long in all."""

    count: int
    ns: int


class ModelStatistics(Body):
    """Of one version of a model."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, Span]
    batch_stats: list[dict[str, int | Span]]


class Statistics(Body):
    """Of all that were asked for."""

    model_stats: list[ModelStatistics]


class IndexEntry(Body):
    """One model."""

    name: str
    version: str = ""
    state: str
    reason: str


class Index(RootModel[list[IndexEntry]]):
    """All models there are."""


class Region(Body):
    """A shared memory region."""

    name: str
    key: str
    offset: int
    byte_size: int


class Regions(RootModel[list[Region]]):
    """All regions, or the one that was asked for."""


class OutputTensor(Body):
    """An output. Without `data` it follows the JSON, or lies in shared memory."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = Field(default_factory=list)
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)


class Inference(Body):
    """The answer to a request."""

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[OutputTensor]
