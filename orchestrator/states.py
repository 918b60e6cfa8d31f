"""The legal transitions of a deployment, an epoch, a stage, a request and a job: one table each.

A `Story` is where an entity stands and how it came there. What its table lacks raises IllegalTransition
with the whole story. It decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.errors import IllegalTransition

Table = Mapping[tuple[str, str], str]  # (state, verb) → state

DEPLOYMENT: Table = {
    ("planning", "plan"): "loading",
    ("planning", "fail"): "failed",
    ("planning", "delete"): "deleting",
    ("loading", "replan"): "planning",  # a node of the first plan was lost while it loaded
    ("loading", "fail"): "failed",
    ("loading", "run"): "running",
    ("loading", "delete"): "deleting",
    ("running", "delete"): "deleting",
    ("failed", "delete"): "deleting",
    ("deleting", "delete"): "deleting",  # asked twice
    ("deleting", "end"): "deleted",
}

EPOCH: Table = {
    ("loading", "switch"): "switching",
    ("loading", "stand by"): "standby",
    ("loading", "try"): "trial",
    ("trial", "switch"): "switching",
    ("trial", "drain"): "draining",
    ("loading", "drop"): "dropping",
    ("standby", "switch"): "switching",
    ("standby", "drain"): "draining",  # routers that may use it have to be told first
    ("standby", "drop"): "dropping",
    ("switching", "activate"): "active",
    ("switching", "drain"): "draining",
    ("active", "drain"): "draining",
    ("draining", "stand by"): "standby",
    ("draining", "switch"): "switching",  # rolled back to before its last request had ended
    ("draining", "drop"): "dropping",
    ("draining", "end"): "gone",  # every node of it was lost
    ("dropping", "end"): "gone",
}

STAGE: Table = {
    ("loading", "ready"): "ready",
    ("loading", "fail"): "gone",
    ("loading", "lose"): "gone",
    ("loading", "drop"): "dropping",
    ("ready", "ready"): "ready",  # told again by a worker that a new controller re-adopted
    ("ready", "fail"): "gone",
    ("ready", "lose"): "gone",
    ("ready", "drop"): "dropping",
    ("dropping", "ready"): "dropping",  # the news of its loading crossed the order to stop
    ("dropping", "fail"): "gone",
    ("dropping", "lose"): "gone",
    ("dropping", "stopped"): "gone",
    ("gone", "ready"): "gone",  # late news from a node already given up
    ("gone", "fail"): "gone",
    ("gone", "lose"): "gone",
    ("gone", "stopped"): "gone",
}

REQUEST: Table = {
    ("waiting", "send"): "sent",
    ("waiting", "fail"): "failed",
    ("waiting", "cancel"): "cancelled",
    ("sent", "wait"): "waiting",  # its worker is lost and no other epoch is there yet
    ("sent", "send"): "sent",  # replayed
    ("sent", "deliver"): "delivered",
    ("sent", "fail"): "failed",
    ("sent", "cancel"): "cancelled",
}

JOB: Table = {  # its states are those of Ray Jobs
    ("PENDING", "start"): "RUNNING",
    ("PENDING", "stop"): "STOPPED",
    ("PENDING", "fail"): "FAILED",
    ("RUNNING", "start"): "RUNNING",  # by a driver that goes on where one before it died
    ("RUNNING", "succeed"): "SUCCEEDED",
    ("RUNNING", "stop"): "STOPPED",
    ("RUNNING", "fail"): "FAILED",
}
JOB_ENDS = ("STOPPED", "SUCCEEDED", "FAILED")

TABLES: Mapping[str, Table] = {
    "deployment": DEPLOYMENT,
    "epoch": EPOCH,
    "stage": STAGE,
    "request": REQUEST,
    "job": JOB,
}


@dataclass(slots=True, unsafe_hash=True)
class Step:
    """One transition: when, by what, into which state. Nobody changes one; not frozen, as millions are made."""

    at_s: float
    verb: str
    state: str


@dataclass(slots=True)
class Story:
    """An entity's state and its whole way there; `kind` names the table it obeys."""

    kind: str
    name: str
    state: str
    steps: list[Step] = field(default_factory=list)

    def step(self, verb: str, now_s: float) -> None:
        """Go on by `verb`; IllegalTransition where the table has no such step."""
        state = TABLES[self.kind].get((self.state, verb))
        if state is None:
            raise IllegalTransition(f"{self.kind} {self.name}", self.state, verb, self.told())
        if state != self.state:
            self.steps.append(Step(now_s, verb, state))
        self.state = state

    def told(self) -> tuple[str, ...]:
        """The steps as text, oldest first."""
        return tuple(f"{step.verb} at {step.at_s:.3f} s: {step.state}" for step in self.steps)
