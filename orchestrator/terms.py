"""How a caller wants a request treated, beside being answered in time."""

from dataclasses import dataclass
from typing import NamedTuple

from nodes.batching import LOWEST
from nodes.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """`priority`: whose turn it is where requests wait, 1 first and 9 last; 0 stands for the normal one, 5.

    `wait`: whether it tries again where a queue is full, instead of being refused at once.
    """

    priority: int = 0
    wait: bool = True

    def __post_init__(self) -> None:
        """BadInput for a priority that there is not."""
        if not 0 <= self.priority <= LOWEST:
            raise BadInput(
                f"priority {self.priority}: should be from 1, the highest, to {LOWEST}, or 0 for the normal one"
            )


USUAL = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Which sequence a request belongs to. `start`: it begins anew; `end`: this is its last step.

    `owner` tells apart whose sequences have the same name.
    """

    sequence: str
    start: bool = False
    end: bool = False
    owner: str = ""


class Asked(NamedTuple):
    """All that Router.infer is told of a request beside its tensors and its budget."""

    trace: bool
    key: str
    version: int | None
    terms: Terms
    step: Step | None
