"""A router told of an epoch some of whose workers it cannot reach just then."""

from orchestrator.actions import Send
from orchestrator.replicas_routing import Routes
from orchestrator.routing import Routing

ROUTES = Routes(epoch=1, nodes=("camera", "cloud"), outputs=("logits",))


def test_requests_wait_for_a_worker_that_was_not_reached_and_go_when_it_is() -> None:
    routing = Routing()
    assert routing.switch(ROUTES, 0.0, lost=("cloud",)) == ()
    assert routing.submit("a", 0.0, 10.0) == ()
    assert routing.worker_found("cloud", 1.0) == (Send(request="a", attempt=1, epoch=1, budget_s=9.0),)


def test_an_epoch_without_the_unreached_worker_takes_the_requests() -> None:
    routing = Routing()
    routing.switch(ROUTES, 0.0, lost=("cloud",))
    routing.submit("a", 0.0, 10.0)
    (sent,) = routing.switch(Routes(epoch=2, nodes=("camera",), outputs=("logits",)), 1.0)
    assert isinstance(sent, Send)
    assert sent.epoch == 2
