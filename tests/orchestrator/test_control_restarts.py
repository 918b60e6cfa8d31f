"""What a core decides hangs on what it knows alone: one made anew from that before each event decides the same."""

import random

import pytest

from orchestrator.control import Control
from orchestrator.events import Event, NodeJoined, NodeLost, NodeRoom, PlansMapped, RouterJoined, Tick
from orchestrator.instructions import FindPlan, Instruction
from orchestrator.plain import to_plain
from orchestrator.plan_map import KnownPlan
from tests.builders import deploy_requested, known_plan, plan_map_of, plan_on, uplink
from tests.orchestrator.cluster import Cluster

ROOM = tuple(NodeRoom(node=node, standby_bytes=300) for node in ("camera", "mec", "cloud"))
KNOWN = (
    known_plan(plan_on("camera", latency_s=0.1), fixed_s=0.1),
    known_plan(plan_on("camera", "cloud", latency_s=0.05), fixed_s=0.03, nbytes=125_000),
    known_plan(plan_on("cloud", latency_s=0.06), fixed_s=0.01, nbytes=600_000),
    known_plan(plan_on("camera", "mec", latency_s=0.06), fixed_s=0.06),
)


class Restarted(Cluster):
    """A cluster whose core is another one at each event; both must decide the same."""

    def tell(self, event: Event) -> tuple[Instruction, ...]:
        anew = Control().restored(self.control.snapshot())
        given = super().tell(event)
        again = anew.handle(event, self.now_s)
        assert [to_plain(one) for one in again] == [to_plain(one) for one in given], event
        return given


def drawn_event(draw: random.Random, known: tuple[KnownPlan, ...], ticket: int) -> Event:
    """Something that happens to a running deployment."""
    node = draw.choice(("camera", "mec", "cloud"))
    few = tuple(draw.sample(known, draw.randint(1, len(known))))
    return draw.choice(
        (
            uplink(draw.choice((2, 10, 60, 100, 400))),
            PlansMapped(deployment="classify", ticket=ticket, plan_map=plan_map_of(*few)),
            NodeLost(node=node),
            NodeJoined(node=node),
            deploy_requested(room=ROOM, spec=draw.choice("ef") * 64),
            RouterJoined(deployment="classify", router=draw.choice(("r1", "r2"))),
            Tick(),
        )
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_core_made_anew_before_an_event_decides_as_the_one_that_went_on(seed: int) -> None:
    draw, ticket = random.Random(seed), 1
    cluster = Restarted(KNOWN[0].plan)
    cluster.tell(deploy_requested(room=ROOM))
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    for _ in range(60):
        cluster.now_s += draw.uniform(0.1, 6.0)
        cluster.plan, cluster.current = draw.choice(KNOWN).plan, draw.uniform(0.01, 0.5)
        asked = [one for one in cluster.tell(drawn_event(draw, KNOWN, ticket)) if isinstance(one, FindPlan)]
        ticket = asked[-1].ticket if asked else ticket
        for _ in range(draw.randint(0, len(cluster.answers))):
            cluster.tell(cluster.answers.popleft())
