"""What a worker's error frame means for the routing core."""

from collections.abc import Callable
from typing import NamedTuple

from nodes.errors import BadOutput, StageHung, UnknownEpoch
from nodes.framing import Fault, Header
from orchestrator.actions import Action
from orchestrator.answers import Waiting
from orchestrator.router_feeds import non_finite
from orchestrator.routes import EpochRoutes
from orchestrator.routing import Routing


class Faulty(NamedTuple):
    """An error frame with what the router knows of its epoch and request, None where it has forgotten them."""

    header: Header
    fault: Fault
    routes: EpochRoutes | None
    waiting: Waiting | None

    def tell(self, core: Routing, meet: Callable[[str], list[str]], now_s: float) -> tuple[Action, ...]:
        """Tell the core; what it wants done. `meet` names the deployments that have a request with a node's worker."""
        header, (kind, message, caller_fault) = self.header, self.fault
        if kind == UnknownEpoch.__name__:
            replica = core.where(header.request, header.attempt, header.stage)
            return core.epoch_lost(header.epoch, message, now_s, node=replica)
        if kind == StageHung.__name__ and self.routes is not None:
            node = core.where(header.request, header.attempt, header.stage) or node_of(self.routes, header.stage)
            others = any(name != header.deployment for name in meet(node))
            return core.stage_hung(header.epoch, node, message, now_s, others=others)
        if kind == BadOutput.__name__ and self.waiting is not None and (given := non_finite(self.waiting.feeds)):
            message, caller_fault = f"input {', '.join(given)} holds NaN or infinity, and so {message}", True
        about = {"kind": kind, "stage": header.stage}
        return core.error(header.request, header.attempt, message, now_s, caller_fault=caller_fault, **about)


def node_of(routes: EpochRoutes, stage: str) -> str:
    """Where a stage of this epoch is; "" for one that it doesn't have."""
    return next((reach.node for name, reach in routes.stages if name == stage), "")
