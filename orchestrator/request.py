"""What the routing core knows of one request; changed by routing.py only."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.actions import Action, Cancel
from orchestrator.errors import IllegalTransition
from orchestrator.soundness import Where
from orchestrator.states import REQUEST
from orchestrator.suspicion import Loss, alone
from partitioner.topology import NodeId

PAUSE_S, MOST_PAUSE_S = 0.05, 1.6  # before it is sent again after a broken stream or a full queue; doubles each time
MOMENT_S = 2.0  # from the word that a stream to a replica broke to the word that its worker is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where a step of a sequence had better go, as its state is there, and which outputs it is to have besides."""

    epoch: int | None = None
    way: tuple[NodeId, ...] = ()
    also: tuple[str, ...] = ()


NO_WISH = Wish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a step's frame says of its sequence, and what the core is to know of it."""

    sequence: str
    position: int
    last: bool
    snapshot: bool
    wish: Wish


@dataclass
class Request:
    """A request in hand. `due_s`: it waits until then at least. `missing`: outputs of this attempt still to come.

    What has gone wrong is kept in tuples: most requests never have any of it, and then it stands in the class alone, as
    millions of requests are made. Where it stands goes by the table in states.py.
    """

    name: str
    submitted_s: float
    deadline_s: float
    waits: bool = True  # it waits for a full queue, and tries again
    wish: Wish = NO_WISH
    state: str = field(default="waiting", init=False)
    path: tuple[tuple[float, str, str], ...] = field(default=(), init=False)  # when, by what, into which state
    attempt: int = field(default=0, init=False)
    epoch: int | None = field(default=None, init=False)  # of the attempt in flight
    way: tuple[NodeId, ...] = field(default=(), init=False)  # that it goes: each stage's node, where there are replicas
    left_node: NodeId = field(default="", init=False)  # where its way broke last: perhaps that worker died of it
    left_s: float = field(default=0.0, init=False)  # and when
    fled: int | None = field(default=None, init=False)  # the epoch that it left for a broken stream: perhaps likewise
    sent_s: float = field(default=0.0, init=False)
    serial: int = field(default=0, init=False)  # of this attempt among all that were sent
    failures: int = field(default=0, init=False)  # of attempts, but for what was the workers' or links' own misfortune
    pauses: int = field(default=0, init=False)
    moves: int = field(default=0, init=False)
    due_s: float = field(default=0.0, init=False)
    losses: tuple[Loss, ...] = field(default=(), init=False)
    bad: tuple[Where, ...] = field(default=(), init=False)
    errors: tuple[str, ...] = field(default=(), init=False)
    missing: tuple[str, ...] = field(default=(), init=False)
    choice: int | None = field(default=None, init=False)  # the epoch of a version on trial, for its first attempt

    def step(self, verb: str, now_s: float) -> None:
        """Go on by `verb`; IllegalTransition where the table has no such step."""
        state = REQUEST.get((self.state, verb))
        if state is None:
            raise IllegalTransition(f"request {self.name}", self.state, verb, self.told())
        self.path += ((now_s, verb, state),)
        self.state = state

    def pause(self, now_s: float) -> None:
        """Let a while pass before the next attempt, longer each time."""
        self.due_s = now_s + min(PAUSE_S * 2**self.pauses, MOST_PAUSE_S)
        self.pauses += 1

    def why_quarantined(self) -> str:
        """What its caller is told."""
        lost = f"{alone(self.losses)} workers were lost with it alone"
        return f"{lost} ({'; '.join(self.errors)}); it is not sent again"

    def told(self) -> tuple[str, ...]:
        """The steps as text, oldest first."""
        return tuple(f"{verb} at {at_s:.3f} s: {state}" for at_s, verb, state in self.path)

    def is_due(self, now_s: float) -> bool:
        """Whether its pause is over and its budget is not."""
        return self.due_s <= now_s < self.deadline_s

    def looked_at_s(self, overdue_s: float | None) -> float:
        """When something is to be done about it at the latest; what goes its way is overdue after so long."""
        if self.epoch is None:
            return min(self.deadline_s, self.due_s) if self.due_s > self.sent_s else self.deadline_s
        return self.deadline_s if overdue_s is None else min(self.deadline_s, self.sent_s + overdue_s)

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
