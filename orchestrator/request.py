"""What the routing core knows of one request; changed by routing.py only."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.actions import Action, Cancel
from orchestrator.soundness import Where
from orchestrator.states import Story
from orchestrator.suspicion import Loss
from partitioner.topology import NodeId

MOMENT_S = 2.0  # from the word that a stream to a replica broke to the word that its worker is lost


@dataclass(slots=True)
class Request:
    """A request in hand. `due_s`: it waits until then at least. `missing`: outputs of this attempt still to come.

    What has gone wrong is kept in tuples: most requests never have any of it.
    """

    name: str
    submitted_s: float
    deadline_s: float
    story: Story
    attempt: int = 0
    epoch: int | None = None  # of the attempt in flight
    way: tuple[NodeId, ...] = ()  # that it goes: the node of each stage, where stages have replicas
    left_node: NodeId = ""  # where its way broke last, at `left_s`: perhaps that worker has just died of it
    left_s: float = 0.0
    fled: int | None = None  # the epoch that it left for a broken stream: perhaps its worker has just died of it
    sent_s: float = 0.0
    serial: int = 0  # of this attempt among all that were sent
    failures: int = 0  # of attempts, but for what was the workers' or links' own misfortune
    pauses: int = 0
    moves: int = 0
    due_s: float = 0.0
    losses: tuple[Loss, ...] = ()
    bad: tuple[Where, ...] = ()
    errors: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    choice: int | None = None  # the epoch of a version on trial, for its first attempt

    def is_due(self, now_s: float) -> bool:
        """Whether its pause is over and its budget is not."""
        return self.due_s <= now_s < self.deadline_s

    def goes_by(self, node: NodeId) -> bool:
        """Whether its way leads over this node; any node of its epoch may be on it where no stage has replicas."""
        return not self.way or node in self.way

    def has_just_left(self, node: NodeId, now_s: float) -> bool:
        """Whether its way broke at this node a moment ago, so that it was there if the worker died."""
        return self.left_node == node and now_s - self.left_s < MOMENT_S


def recall(request: Request) -> tuple[Action, ...]:
    """Take its attempt back, if one is in flight."""
    if request.epoch is None:
        return ()
    return (Cancel(request=request.name, attempt=request.attempt, epoch=request.epoch, way=request.way),)


def why_late(request: Request, held_up: str) -> str:
    """What a caller is told whose budget ran out; `held_up` is what kept it from being sent, if it was not."""
    budget_s = request.deadline_s - request.submitted_s
    what = f"no answer within {budget_s:.3g} s"
    if request.epoch is None:
        what += f", {held_up}"
    else:
        what += f", attempt {request.attempt} is in epoch {request.epoch}"
        what += f" without {', '.join(request.missing)}"
    return what if not request.errors else f"{what}; before: {request.errors[-1]}"


def held_up(has_suspects: bool, broken: Iterable[int], lost: Iterable[str]) -> str:
    """Why a request waits, as its caller is told: behind suspects, or for an epoch whose nodes are there."""
    if has_suspects:
        return "its turn has not come: requests that workers died with are tried one at a time"
    why = ", ".join([*(f"epoch {epoch} failed" for epoch in broken), *(f"{node} lost" for node in lost)])
    return f"no healthy epoch to send it to ({why})" if why else "no healthy epoch to send it to"
