"""A router's deployments as models."""

from collections.abc import Mapping
from dataclasses import replace
from operator import is_

from nodes.backend import Array, TensorSpec
from nodes.batching import BatchRules
from orchestrator.answers import Answer
from orchestrator.gateway.models import UNNUMBERED, Asking, Model
from orchestrator.padding import with_free_axes
from orchestrator.routed import Routed
from orchestrator.router import Router
from orchestrator.routes import EpochRoutes
from orchestrator.terms import Terms


class RouterSource:
    """Models are the deployments that the router has an epoch in use for. It goes on while the controller is away."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._known: dict[str, tuple[tuple[EpochRoutes | None, ...], Model]] = {}  # each made once for its routes

    def models(self) -> tuple[str, ...]:
        """As models.Source."""
        return tuple(name for name, held in self._router.deployments.items() if held.active is not None)

    def model(self, name: str) -> Model | None:
        """As models.Source."""
        held = self._router.deployments.get(name)
        if held is None or (active := held.active) is None:
            self._known.pop(name, None)
            return None
        there = (active, held.on_trial, *held.epochs.values())
        known = self._known.get(name)
        if known is None:  # nobody asks for those that are gone: so they go when another one comes
            self._known = {one: self._known[one] for one in self.models() if one in self._known}
        if known is None or len(known[0]) != len(there) or not all(map(is_, known[0], there)):
            known = self._known[name] = there, self._model(name, active, held)
        return known[1]

    def _model(self, name: str, active: EpochRoutes, held: Routed) -> Model:
        routes = [active, *([] if held.on_trial is None else [held.on_trial])]
        versions = dict.fromkeys(each.version or UNNUMBERED for each in routes)
        fewest = min(held.epochs.values(), key=lambda each: each.rows)  # requests may go, or be sent again, to any
        made = active.made or tuple(TensorSpec(output, "", ()) for output in active.outputs)
        has_rows = fewest.rows > 1 or active.rows == 1
        return Model(
            name=name,
            version=active.version or UNNUMBERED,
            versions=tuple(versions),
            inputs=with_free_axes(active.inputs if has_rows else _of_one_row(active.inputs), active.pads),
            compiled=active.inputs,
            pads=active.pads,
            lengths=active.lengths,
            outputs=made if has_rows else _of_one_row(made),
            rules=_rules(fewest),
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


def _of_one_row(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in specs)


def _rules(routes: EpochRoutes) -> BatchRules:
    return BatchRules(
        max_batch=routes.rows,
        preferred=tuple(size for size in routes.preferred if size <= routes.rows) if routes.rows > 1 else (),
        max_delay_s=routes.max_delay_s if routes.rows > 1 else 0.0,
        queue_limit=routes.queue_limit,
    )
