"""The model repository extension: what there is, and deployments brought up or deleted by clients that may."""

from collections.abc import Sequence
from typing import Protocol

from orchestrator.gateway import describing
from orchestrator.gateway.faults import Fault, Refused, invalid
from orchestrator.gateway.permits import ANYBODY, Permit
from orchestrator.gateway.serving import Serving


class Deployer(Protocol):
    """Brings deployments up and deletes them."""

    def specs(self) -> tuple[str, ...]:
        """Names that can be brought up."""
        ...

    async def deploy(self, name: str) -> None:
        """Have it serve."""
        ...

    async def delete(self, name: str) -> None:
        """Drain and unload it."""
        ...


class Repository:
    """Models that run, and those that a `deployer` could bring up; None: nobody may change what runs."""

    def __init__(self, serving: Serving, deployer: Deployer | None = None) -> None:
        self._serving, self._deployer = serving, deployer

    def index(self, permit: Permit = ANYBODY) -> list[dict[str, str]]:
        """All models that are permitted, with their states."""
        return [one for one in self._all() if permit.opens(one["name"])]

    def _all(self) -> list[dict[str, str]]:
        source = self._serving.source
        running = [(model, source.is_ready(model.name)) for name in source.models() if (model := source.model(name))]
        known = {model.name for model, _ in running}
        others = () if self._deployer is None else (name for name in self._deployer.specs() if name not in known)
        unloaded = [{"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"} for name in others]
        return [*describing.index(running), *unloaded]

    async def load(self, name: str, parameters: Sequence[str] = (), permit: Permit = ANYBODY) -> None:
        """Bring a model up, or have it as its spec says now. Refused where there is no spec of that name."""
        permit.check_loads(name)
        if parameters:
            raise invalid(f"model {name!r}: parameters {', '.join(parameters)} are not known; its spec says all")
        await self._allowed().deploy(self._known(name, permit))

    async def unload(self, name: str, permit: Permit = ANYBODY) -> None:
        """Delete the deployment of a model whose spec is there."""
        permit.check_loads(name)
        self._serving.model(self._known(name, permit))
        await self._allowed().delete(name)

    def _allowed(self) -> Deployer:
        if self._deployer is None:
            raise Refused(Fault.UNSUPPORTED, "this gateway has no repository: start it with --repository FOLDER")
        return self._deployer

    def _known(self, name: str, permit: Permit) -> str:
        specs = tuple(filter(permit.opens, self._allowed().specs()))
        if name not in specs:
            raise Refused(Fault.NOT_FOUND, f"no spec of model {name!r}; there is {', '.join(specs) or 'none'}")
        return name
