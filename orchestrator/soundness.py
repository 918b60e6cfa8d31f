"""Whose fault a bad output is: the request's inputs, or the stage that made it.

A stage refuses to hand on an output of the wrong shape or dtype, or one that overflowed (nodes/stage_work.py). One
such output proves nothing, so the request is tried again:

- If the next attempt is answered, the stage made two different things of one input: it is suspected.
- If the same stage fails again, or another epoch does, it is taken for the inputs' fault: the caller is told.
- A stage that failed three requests in a row that way, with no answer from its epoch in between, is suspected all the
  same: inputs are seldom all bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.actions import Suspect
from partitioner.topology import NodeId

STREAK = 3
Where = tuple[int, str, NodeId]  # epoch and stage, and the replica of a stage that has some, else ""


def is_inputs_fault(bad: Sequence[Where]) -> bool:
    """Whether the last bad output confirms an earlier one of the same request."""
    *before, last = bad
    return any(where[:2] == last[:2] or where[0] != last[0] for where in before)


def contradicted(bad: Sequence[Where], error: str) -> tuple[Suspect, ...]:
    """Stages to suspect, each once: a request that they gave these bad outputs for was answered after all.

    `error` is the last of what they said.
    """
    why = f"gave a bad output for a request that was answered when sent again: {error}"
    return tuple(
        Suspect(epoch=epoch, stage=stage, error=f"stage {stage} {why}", node=node)
        for epoch, stage, node in dict.fromkeys(bad)
    )


@dataclass(slots=True)
class Streaks:
    """Requests in a row that ended with a bad output, by stage."""

    _ended: dict[Where, int] = field(default_factory=dict)

    def ended_badly(self, where: Where) -> bool:
        """A request failed there; whether the stage is to be suspected (said once a streak)."""
        self._ended[where] = self._ended.get(where, 0) + 1
        return self._ended[where] == STREAK

    def answered(self, epoch: int) -> None:
        """A request came through the epoch; forgotten epochs count as answered, too."""
        if self._ended:
            self._ended = {where: count for where, count in self._ended.items() if where[0] != epoch}
