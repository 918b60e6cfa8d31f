"""A router's deployments as models."""

from collections.abc import Mapping

from nodes.backend import Array, TensorSpec
from orchestrator.answers import Answer
from orchestrator.gateway.models import UNNUMBERED, Model
from orchestrator.router import Router


class RouterSource:
    """Models are the deployments that the router has an epoch in use for. It goes on while the controller is away."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def models(self) -> tuple[str, ...]:
        """As models.Source."""
        return tuple(name for name, held in self._router.deployments.items() if held.active is not None)

    def model(self, name: str) -> Model | None:
        """As models.Source."""
        held = self._router.deployments.get(name)
        if held is None or (active := held.active) is None:
            return None
        routes = [active, *([] if held.on_trial is None else [held.on_trial])]
        versions = dict.fromkeys(each.version or UNNUMBERED for each in routes)
        return Model(
            name=name,
            version=active.version or UNNUMBERED,
            versions=tuple(versions),
            inputs=active.inputs,
            outputs=active.made or tuple(TensorSpec(output, "", ()) for output in active.outputs),
        )

    def is_ready(self, name: str) -> bool:
        """As models.Source: an epoch, the one in use or one that stands by, has all its workers in reach."""
        held = self._router.deployments.get(name)
        return held is not None and held.active is not None and bool(held.core.choices())

    def is_live(self) -> bool:
        """As models.Source: whoever asks is answered by the very loop that routes."""
        return True

    async def answer(
        self, name: str, feeds: Mapping[str, Array], *, budget_s: float, version: int | None, key: str
    ) -> Answer:
        """As models.Source."""
        numbered = None if version is None or self._is_unnumbered(name) else version
        return await self._router.infer(name, feeds, budget_s=budget_s, trace=True, key=key, version=numbered)

    def _is_unnumbered(self, name: str) -> bool:
        active = self._router.deployments[name].active
        return active is None or active.version == 0
