"""What a spec's `batching:` says of a deployment, as a value and as the YAML that means it.

    batching: {max: 8, preferred: [4, 8], delay_ms: 2, queue_limit: 64}

Every stage and every gateway shares runs by it (nodes/batching.py). `max: auto` takes the size from each engine's
measured batch curve (tuning/batches.py).
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.yaml_file import StrictModel

MOST_ROWS, MOST_WAITING = 1024, 65_536
CURVE = (2, 4, 8, 16)  # requests at once that are timed for `max: auto`


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How requests share runs. `most` None: as many as the engine's batch curve says."""

    most: int | None = None
    preferred: tuple[int, ...] = ()
    max_delay_s: float = 0.0
    queue_limit: int = 1024


class BatchingModel(StrictModel):
    """The spec's key."""

    max: Literal["auto"] | int = "auto"
    preferred: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    queue_limit: Annotated[int, Field(ge=1, le=MOST_WAITING)] = 1024

    @field_validator("max", mode="before")
    @classmethod
    def _auto_or_count(cls, given: Any) -> Any:
        if given == "auto" or (type(given) is int and 1 <= given <= MOST_ROWS):
            return given
        raise ValueError(f"should be auto, or a whole number from 1 to {MOST_ROWS}, is {given!r}")

    @model_validator(mode="after")
    def _within(self) -> "BatchingModel":
        beyond = [size for size in self.preferred if isinstance(self.max, int) and size > self.max]
        if beyond:
            raise ValueError(f"preferred: {beyond[0]} is above max, {self.max}")
        return self

    def batching(self) -> Batching:
        """The same in SI units."""
        return Batching(
            most=None if self.max == "auto" else self.max,
            preferred=tuple(sorted(set(self.preferred))),
            max_delay_s=self.delay_ms / 1e3,
            queue_limit=self.queue_limit,
        )
