"""Where plans are found for the control core: the deployments' blueprints, and solvers in threads of their own.

Part of the controller's shell. It answers FindPlan with an event, and draws maps; it decides nothing.
"""

import asyncio
from collections.abc import Collection

from orchestrator.answering import found
from orchestrator.blueprint import Blueprint
from orchestrator.errors import UnknownDeployment
from orchestrator.events import PlanFound, PlanNotFound, PlansMapped
from orchestrator.instructions import FindPlan
from orchestrator.knowledge import DeploymentRecord
from orchestrator.mapping import plan_map
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan

REMEMBERED = 4  # versions whose models are kept in memory


class Desk:
    """`blueprints`: what each deployment is to be, `trials`: what it may become, by name; `versions`: by digest, too.

    `bases` and `plans`: what each epoch was opened for, and does.
    """

    def __init__(self) -> None:
        self.blueprints: dict[str, Blueprint] = {}
        self.trials: dict[str, Blueprint] = {}
        self.versions: dict[tuple[str, str], Blueprint] = {}
        self.bases: dict[tuple[str, int], Blueprint] = {}
        self.plans: dict[tuple[str, int], Plan] = {}

    def open(
        self, name: str, epoch: int, plan: Plan, known: DeploymentRecord | None = None, *, on_trial: bool = False
    ) -> tuple[int, ...]:
        """An epoch is opened for what the deployment is to be now, or may become. Those that `known` has no more, if
        it is given, are forgotten with the models that they were cut from; which are still held.
        """
        base = self.trials[name] if on_trial else self.blueprints[name]
        self.plans[name, epoch], self.bases[name, epoch] = plan, base
        if known is not None:
            self._retain(name, {epoch, *(one.number for one in known.epochs)})
        return tuple(held for deployment, held in self.plans if deployment == name)

    def _retain(self, name: str, epochs: Collection[int]) -> None:
        for gone in [key for key in self.plans if key[0] == name and key[1] not in epochs]:
            del self.plans[gone], self.bases[gone]

    def keep(self, blueprint: Blueprint, version: str) -> None:
        """Remember a version by its digest; of each deployment the newest REMEMBERED."""
        name = blueprint.spec.name
        self.versions[name, version] = self.versions.pop((name, version), blueprint)
        for key in [key for key in self.versions if key[0] == name][:-REMEMBERED]:
            del self.versions[key]

    def take(self, name: str, version: str) -> None:
        """The deployment is to be this version, which is remembered, from now on."""
        if (name, version) in self.versions:
            self.blueprints[name] = self.versions[name, version]

    def forget(self, name: str) -> None:
        """The deployment is gone."""
        self.blueprints.pop(name, None)
        self.trials.pop(name, None)
        self.versions = {key: blueprint for key, blueprint in self.versions.items() if key[0] != name}
        self._retain(name, ())

    def plan(self, name: str, epoch: int | None) -> Plan:
        """The plan of an epoch. UnknownDeployment if there is none."""
        if epoch is None or (name, epoch) not in self.plans:
            raise UnknownDeployment(name, tuple(self.blueprints))
        return self.plans[name, epoch]

    def spec(self, name: str) -> DeploymentSpec:
        """What is asked of a deployment. UnknownDeployment if there is none."""
        if name not in self.blueprints:
            raise UnknownDeployment(name, tuple(self.blueprints))
        return self.blueprints[name].spec

    async def find(self, wanted: FindPlan, active: int | None) -> PlanFound | PlanNotFound | None:
        """The answer to a question while epoch `active` runs; None if the deployment was deleted since."""
        name = wanted.deployment
        blueprint = (self.trials if wanted.version else self.blueprints).get(name)
        if blueprint is None:
            return None
        running = None if active is None else self.plans.get((name, active))
        return await asyncio.to_thread(found, blueprint, wanted, running)

    async def map(self, wanted: FindPlan, *known: Plan) -> PlansMapped | None:
        """Every plan worth knowing for that question; None where there is no map."""
        blueprint = self.blueprints.get(wanted.deployment)
        if blueprint is None:
            return None
        drawn = await asyncio.to_thread(plan_map, blueprint, wanted.links, wanted.excluded, known)
        if drawn is None:
            return None
        return PlansMapped(deployment=wanted.deployment, ticket=wanted.ticket, plan_map=drawn)
