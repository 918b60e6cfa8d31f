"""How a caller wants a request treated, beside being answered in time."""

from dataclasses import dataclass

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
