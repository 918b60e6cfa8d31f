"""A router's deployments as models."""

from collections.abc import Mapping

from nodes.backend import Array, TensorSpec
from nodes.batching import BatchRules
from orchestrator.answers import Answer
from orchestrator.gateway.models import UNNUMBERED, Asking, Model
from orchestrator.padding import with_free_axes
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from orchestrator.terms import Terms


class RouterSource:
    """Models are the deployments that the router has an epoch in use for. It goes on while the controller is away."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._known: dict[str, tuple[EpochRoutes, EpochRoutes | None, Model]] = {}  # each made once for its routes

    def models(self) -> tuple[str, ...]:
        """As models.Source."""
        return tuple(name for name, held in self._router.deployments.items() if held.active is not None)

    def model(self, name: str) -> Model | None:
        """As models.Source."""
        held = self._router.deployments.get(name)
        if held is None or (active := held.active) is None:
            return None
        if (known := self._known.get(name)) is not None and known[0] is active and known[1] is held.on_trial:
            return known[2]
        self._known[name] = active, held.on_trial, self._model(name, active, held.on_trial)
        return self._known[name][2]

    def _model(self, name: str, active: EpochRoutes, on_trial: EpochRoutes | None) -> Model:
        routes = [active, *([] if on_trial is None else [on_trial])]
        versions = dict.fromkeys(each.version or UNNUMBERED for each in routes)
        return Model(
            name=name,
            version=active.version or UNNUMBERED,
            versions=tuple(versions),
            inputs=with_free_axes(active.inputs, active.pads),
            compiled=active.inputs,
            pads=active.pads,
            outputs=active.made or tuple(TensorSpec(output, "", ()) for output in active.outputs),
            rules=_rules(active),
            width=2 * len(active.workers),
            sequence=active.sequence,
        )

    def is_ready(self, name: str) -> bool:
        """As models.Source: an epoch, the one in use or one that stands by, has all its workers in reach."""
        held = self._router.deployments.get(name)
        return held is not None and held.active is not None and bool(held.core.choices())

    def is_live(self) -> bool:
        """As models.Source: whoever asks is answered by the very loop that routes."""
        return True

    async def answer(self, name: str, feeds: Mapping[str, Array], asking: Asking) -> Answer:
        """As models.Source. It doesn't wait where a stage's queue is full: requests wait here. But a step of a sequence
        does, since what has gone before it would have to be run again.
        """
        return await self._router.infer(
            name,
            feeds,
            budget_s=asking.budget_s,
            trace=True,
            key=asking.key,
            version=None if self._is_unnumbered(name) else asking.version,
            terms=Terms(priority=asking.priority, wait=asking.step is not None),
            step=asking.step,
        )

    def _is_unnumbered(self, name: str) -> bool:
        active = self._router.deployments[name].active
        return active is None or active.version == 0


def _rules(routes: EpochRoutes) -> BatchRules:
    return BatchRules(
        max_batch=routes.rows,
        preferred=tuple(size for size in routes.preferred if size <= routes.rows) if routes.rows > 1 else (),
        max_delay_s=routes.max_delay_s if routes.rows > 1 else 0.0,
        queue_limit=routes.queue_limit,
    )
