"""What the routing core costs, in microseconds of this process's CPU per request: submitted, sent, answered, released.

No socket, no tensor: the decisions alone, which every live client makes for each of its requests and a simulation for
each of its users'. The common path is one whole epoch without replicas; beside it what choosing costs, among replicas
of each stage and between the epoch in use and one that stands by, and a look at all that is in hand, which a router
takes twenty times a second.
"""

import argparse
import gc
from collections.abc import Callable
from functools import partial
from statistics import median
from time import process_time

from kit.figures import Figure, figure, report

from orchestrator.replicas_routing import Crew, Routes
from orchestrator.routing import Routing
from policies.routing import Way

COMMON_TARGET_US = 5.0
STEP_S, BUDGET_S = 0.001, 1e6  # between two requests; nobody's budget ends
IN_HAND, MANY = 8, 1000
OUTPUTS = ("logits",)


def common() -> Routing:
    """One epoch over three nodes."""
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=("camera", "mec", "cloud"), outputs=OUTPUTS), 0.0)
    return routing


def replicated() -> Routing:
    """Three stages with two nodes each."""
    crews = tuple(Crew(stage=f"s{n}", nodes=(f"a{n}", f"b{n}"), seconds=0.01) for n in range(3))
    nodes = tuple(node for crew in crews for node in crew.nodes)
    routing = Routing()
    routing.switch(Routes(epoch=1, nodes=nodes, outputs=OUTPUTS, crews=crews), 0.0)
    return routing


def with_standby() -> Routing:
    """The same as `common`, with an epoch that stands by, and what a request takes in either."""
    routing = common()
    routing.offer(Routes(epoch=2, nodes=("camera", "cloud"), outputs=OUTPUTS), 0.0)
    ways = {1: (0.01, 0.005), 2: (0.02, 0.01)}
    routing.learn(
        {
            epoch: Way(name=str(epoch), in_hand=0, batch_s=(each_s,), link_s=link_s)
            for epoch, (each_s, link_s) in ways.items()
        }
    )
    return routing


def with_drain() -> Routing:
    """The same as `common`, while an old epoch is drained that its last request, never answered, keeps."""
    routing = Routing()
    routing.switch(Routes(epoch=2, nodes=("camera",), outputs=OUTPUTS), 0.0)
    routing.submit("last", 0.0, BUDGET_S)
    routing.switch(Routes(epoch=1, nodes=("camera", "mec", "cloud"), outputs=OUTPUTS), 0.0)
    routing.drain(2, 0.0)
    return routing


def served_us(make: Callable[[], Routing], requests: int, in_hand: int) -> float:
    """CPU microseconds per request; each is answered when `in_hand` others have been sent after it."""
    routing, names = make(), [str(number) for number in range(requests)]
    now_s = 0.0
    began_s = process_time()
    for number, name in enumerate(names):
        now_s += STEP_S
        routing.submit(name, now_s, BUDGET_S)
        if number >= in_hand:
            routing.answer(names[number - in_hand], 1, OUTPUTS, now_s)
    for name in names[requests - in_hand :]:
        routing.answer(name, 1, OUTPUTS, now_s)
    return (process_time() - began_s) / requests * 1e6


def look_us(looks: int) -> float:
    """CPU microseconds to ask when the next tick is due and to tick, with many requests in hand; after an answer."""
    routing = common()
    for number in range(MANY + looks):
        routing.submit(str(number), 0.0, BUDGET_S)
    spent_s = 0.0
    for number in range(looks):
        routing.answer(str(number), 1, OUTPUTS, STEP_S)
        began_s = process_time()
        assert routing.next_deadline_s is not None
        routing.tick(STEP_S)
        spent_s += process_time() - began_s
    return spent_s / looks * 1e6


def told(name: str, measure: Callable[[], float], repeats: int, target_us: float | None = None) -> Figure:
    """The median of some runs, without pauses for garbage."""
    found = []
    for _ in range(repeats):
        gc.collect()
        gc.disable()
        found.append(measure())
        gc.enable()
    return figure(name, median(found), "µs", target_us, spread=(min(found), max(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    requests, repeats = (2_000, 3) if options.quick else (20_000, 9)
    cases: list[tuple[str, Callable[[], Routing], int, float | None]] = [
        ("one epoch, one request at a time", common, 0, COMMON_TARGET_US),
        (f"one epoch, {MANY} in hand", common, MANY, COMMON_TARGET_US),
        (f"one epoch, {IN_HAND} in hand, another drains", with_drain, IN_HAND, None),
        (f"three stages of two replicas, {IN_HAND} in hand", replicated, IN_HAND, None),
        (f"another epoch stands by, {IN_HAND} in hand", with_standby, IN_HAND, None),
    ]
    found = [
        told(f"a request: {name}", partial(served_us, make, requests, held), repeats, target_us)
        for name, make, held, target_us in cases
    ]
    found.append(told(f"a look at {MANY} in hand", partial(look_us, requests // 100), repeats))
    report("routing", found, options.json)


if __name__ == "__main__":
    main()
