"""A sequence as the Python client's user has it: steps one after the other, each going on where the last one ended."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol
from uuid import uuid4

from nodes.backend import Array
from orchestrator.terms import Step


class Infers(Protocol):
    """Client.infer for one model."""

    def __call__(self, inputs: Mapping[str, Array], *, sequence: Step) -> dict[str, Array]:
        """The outputs."""
        ...


class Sequence:
    """One sequence of one model, under a name of its own; made by Client.sequence.

    A step that failed has not been: it may be given again, with the same inputs or others.
    """

    def __init__(self, infer: Infers, end: Callable[[str], None]) -> None:
        self.name = uuid4().hex
        self._infer, self._end = infer, end
        self._is_open = False

    def __enter__(self) -> "Sequence":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def step(self, inputs: Mapping[str, Array], *, last: bool = False) -> dict[str, Array]:
        """Outputs by name, as Client.infer's; the first step also takes what the model keeps.

        After the `last` one stages forget it at once, without it after a while, and the next step would be a first.
        """
        made = self._infer(inputs, sequence=Step(sequence=self.name, start=not self._is_open, end=last))
        self._is_open = not last
        return made

    def close(self) -> None:
        """Go on with it no more. Safe to call twice."""
        if self._is_open:
            self._is_open = False
            self._end(self.name)
