"""The controller's part in rollouts: wishes of clients, what routers count, and routers told of a version on trial.

Part of the controller's shell: it hands events in and carries instructions out; it decides nothing.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.blueprint import Blueprint
from orchestrator.blueprint_file import BlueprintFiles, version_digest
from orchestrator.control import Control
from orchestrator.desk import Desk
from orchestrator.errors import DeploymentFailed, JournalError, OrchestratorError, UnknownDeployment
from orchestrator.events import Event, PromoteRequested, RollbackRequested, RolloutRequested, TrialObserved
from orchestrator.instructions import EndTrial, SplitTraffic, TakeVersion
from orchestrator.rollout_terms import RolloutTerms
from orchestrator.routers import Routers, Try
from orchestrator.routes import EpochRoutes
from orchestrator.splitting import Split
from orchestrator.versions import before, version_of
from orchestrator.wishes import guessed_links, room_of
from policies.rollout import Tally

Note = Callable[[str, str, int | None, str], None]


class RolloutDesk:
    """`ask` hands a wish in and waits until it is granted, `handle` a fact; `answer` tells whoever asked."""

    def __init__(
        self,
        control: Control,
        desk: Desk,
        files: BlueprintFiles,
        routers: Routers,
        *,
        ask: Callable[[str, Event], Awaitable[None]],
        handle: Callable[[Event], None],
        answer: Callable[[str, OrchestratorError | None], None],
        routes: Callable[[str, int], EpochRoutes | None],
        note: Note,
    ) -> None:
        self._control, self._desk, self._files, self._routers = control, desk, files, routers
        self._ask, self._handle, self._answer = ask, handle, answer
        self._routes, self._note = routes, note
        self._beginning: list[str] = []

    def is_beginning(self, name: str) -> bool:
        """Whether somebody waits for a trial to begin, which what runs says nothing about."""
        return name in self._beginning

    async def rollout(self, blueprint: Blueprint, model: Path, terms: RolloutTerms) -> None:
        """Have a new version tried; returns when it gets its part of the requests. DeploymentFailed with the cause."""
        name, digest = blueprint.spec.name, version_digest(blueprint)
        current = self._desk.blueprints.get(name)
        if current is None:
            raise UnknownDeployment(name, tuple(self._desk.blueprints))
        if name in self._desk.trials or name in self._beginning:
            raise DeploymentFailed(f"{name}: a version is on trial already; end that with: isthmus rollback {name}")
        _check_alike(current, blueprint)
        self._files.save(blueprint, model)
        self._desk.keep(blueprint, digest)
        self._desk.trials[name] = blueprint
        self._beginning.append(name)
        links, room = guessed_links(blueprint.spec), room_of(blueprint.spec)
        try:
            await self._ask(name, RolloutRequested(deployment=name, spec=digest, terms=terms, links=links, room=room))
        except (DeploymentFailed, JournalError):
            self._desk.trials.pop(name, None)
            raise
        finally:
            self._beginning.remove(name)

    async def promote(self, name: str) -> None:
        """Have the version on trial take over now. DeploymentFailed if it is not the time."""
        await self._ask(name, PromoteRequested(deployment=name))

    async def rollback(self, name: str, version: int | None = None) -> None:
        """End the trial, or have an earlier version come back; returns when every router uses it again."""
        record = self._control.deployments().get(name)
        if record is None:
            raise UnknownDeployment(name, tuple(self._desk.blueprints))
        if record.trial is None:
            numbered = None if version is None else version_of(record.versions, version)
            wanted = numbered or before(record.versions, record.version)
            if wanted is not None and (name, wanted.spec) not in self._desk.versions:
                try:
                    self._desk.keep(self._files.read(name, wanted.spec), wanted.spec)
                except JournalError as error:
                    raise DeploymentFailed(f"{name}: version {wanted.number} cannot be gone back to: {error}") from None
        await self._ask(name, RollbackRequested(deployment=name, version=version))

    def counted(self, router: str, deployment: str, epoch: int, step: int, old: Tally, new: Tally) -> None:
        """A router tells what it has counted of both versions."""
        self._handle(TrialObserved(deployment=deployment, router=router, epoch=epoch, step=step, old=old, new=new))

    def refused(self, name: str) -> None:
        """A wish was not granted: the deployment is to be what the control core says that it is."""
        record = self._control.deployments().get(name)
        if record is not None:
            self._desk.take(name, record.spec)

    def carry_out(self, given: SplitTraffic | EndTrial | TakeVersion) -> None:
        """Do what the control core wants."""
        name = given.deployment
        match given:
            case SplitTraffic():
                self._split(given)
            case EndTrial(reason=reason):
                self._desk.trials.pop(name, None)
                self._note("rollback", name, None, f"version {given.version}: {reason}")
                if name in self._beginning:
                    self._answer(name, DeploymentFailed(f"{name}: {reason}"))
            case TakeVersion(reason=reason):
                self._desk.trials.pop(name, None)
                self._desk.take(name, given.spec)
                self._note("version", name, None, reason)

    def _split(self, given: SplitTraffic) -> None:
        name, epoch = given.deployment, given.epoch
        routes = self._routes(name, epoch)
        split = Split(
            epoch=epoch, mode=given.mode, weight=given.weight, step=given.step, salt=f"{name} {given.version}"
        )
        for router in given.routers if routes is not None else ():
            assert routes is not None
            self._routers.tell(router, Try(routes=routes, split=split))
        if given.reason:
            self._note("trial", name, epoch, given.reason)
        if name in self._beginning:
            self._answer(name, None)


def _check_alike(current: Blueprint, new: Blueprint) -> None:
    """DeploymentFailed unless callers of one version can be answered by the other."""
    name, ours, theirs = new.spec.name, current.model.graph, new.model.graph
    for what, olds, now in (
        ("takes in", ours.inputs, theirs.inputs),
        ("gives", ours.outputs, theirs.outputs),
        ("has its inputs at", (current.spec.source,), (new.spec.source,)),
    ):
        if set(olds) != set(now):
            raise DeploymentFailed(
                f"{name}: the new version {what} {', '.join(now)}, the one that runs {', '.join(olds)}; callers "
                "could not be answered by both: use isthmus deploy"
            )
