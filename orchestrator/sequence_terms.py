"""What a spec's `sequence:` says of a model that keeps state between requests, as values and as the YAML that means it.

    sequence:
      state: {h_next: h, c_next: c}   # output of one step → input of the next; zeros at first
      kept: [cross_keys_0]            # inputs that are given with a sequence's first step only
      idle_s: 60                      # a sequence that is silent for so long is forgotten
      checkpoint: 64                  # steps after which a router takes the state, so that it never repeats more
      most: 1024                      # sequences that a stage keeps at once
      most_mb: 512                    # and what they may take there

Neither is an input or output of a request any more. The names are held against the model by partitioner/stateful.py.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from nodes.backend import TensorSpec
from orchestrator.yaml_file import StrictModel

MOST_STEPS = 4096  # between two checkpoints: a router keeps what they were given


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTerms:
    """How sequences of requests keep state. `state` pairs outputs with the inputs that they are one step later."""

    state: tuple[tuple[str, str], ...] = ()
    kept: tuple[str, ...] = ()
    idle_s: float = 60.0
    checkpoint: int = 64
    most: int = 1024
    most_bytes: int = 512_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stateful:
    """What a router must know of it: the same terms, and what state and kept inputs look like.

    `state` pairs outputs with the inputs that they are.
    """

    state: tuple[tuple[str, TensorSpec], ...]
    kept: tuple[TensorSpec, ...]
    idle_s: float
    checkpoint: int
    most: int

    @property
    def brought(self) -> tuple[TensorSpec, ...]:
        """What a frame may hold beside a request's inputs."""
        return (*self.kept, *(given for _, given in self.state))


class SequenceModel(StrictModel):
    """The spec's key."""

    state: dict[str, str] = Field(default_factory=dict)
    kept: list[str] = Field(default_factory=list)
    idle_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    checkpoint: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 64
    most: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    most_mb: Annotated[float, Field(gt=0)] = 512.0

    @model_validator(mode="after")
    def _told_once(self) -> "SequenceModel":
        if not self.state and not self.kept:
            raise ValueError("says neither state nor kept; name what is carried on, or leave the key out")
        given = [*self.state.values(), *self.kept]
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} is told twice; an input is one output's state, or kept")
        return self

    def terms(self) -> SequenceTerms:
        """The same in SI units."""
        return SequenceTerms(
            state=tuple(self.state.items()),
            kept=tuple(self.kept),
            idle_s=self.idle_s,
            checkpoint=self.checkpoint,
            most=self.most,
            most_bytes=round(self.most_mb * 1e6),
        )
