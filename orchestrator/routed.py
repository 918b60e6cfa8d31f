"""What a router holds of one deployment: the core that decides, the epochs that it knows, the requests in hand."""

import time
from dataclasses import dataclass, field

from orchestrator.actions import Action
from orchestrator.answers import Waiting
from orchestrator.errors import UnknownVersion
from orchestrator.routes import EpochRoutes
from orchestrator.routing import Routing
from orchestrator.trial_watch import TrialWatch


@dataclass(slots=True)
class Routed:
    """One deployment at one router."""

    core: Routing = field(default_factory=Routing)
    epochs: dict[int, EpochRoutes] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    current: int | None = None
    trial: TrialWatch | None = None

    @property
    def newest(self) -> EpochRoutes:
        """The epoch that was heard of last."""
        return next(reversed(self.epochs.values()))

    @property
    def active(self) -> EpochRoutes | None:
        """The epoch in use; None where the deployment is gone or going."""
        return None if self.current is None else self.epochs.get(self.current)

    @property
    def on_trial(self) -> EpochRoutes | None:
        """The epoch of a version on trial that gives answers."""
        return self.epochs.get(self.trial.split.epoch) if self.trial is not None and self.trial.split.answers else None

    def concerns_trial(self, deployment: str, version: int | None) -> bool | None:
        """Whether a request for that version is the trial's; None: as the split says. UnknownVersion."""
        if version is None:
            return None
        there = [routes.version for routes in (self.active, self.on_trial) if routes is not None]
        if version not in there:
            raise UnknownVersion(deployment, version, tuple(there))
        return self.on_trial is not None and version == self.on_trial.version and version != there[0]

    def count(self, actions: tuple[Action, ...], why: str) -> None:
        """Have what is to be done counted, while a version is on trial."""
        if self.trial is not None:
            self.trial.note(actions, why, self.waiting, time.monotonic())

    def forget_trial(self, epoch: int) -> None:
        """The epoch is on trial no more: it is drained, or in use."""
        if self.trial is not None and self.trial.split.epoch == epoch:
            self.trial = None
