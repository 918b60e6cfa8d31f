"""A random but seeded run of the control core, recorded: what `isthmus replay` is tried on."""

import random
from pathlib import Path

from orchestrator.control import Control
from orchestrator.events import DeleteRequested, Event, NodeJoined, NodeLost, RouterJoined, RouterLeft, Tick
from orchestrator.instructions import Instruction
from orchestrator.journal import Journal
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster


class Recorded(Cluster):
    """A cluster that keeps a journal, as a controller does."""

    def __init__(self, journal: Journal, control: Control | None = None) -> None:
        super().__init__(plan_on("camera", "cloud"), control)
        self.journal = journal

    def tell(self, event: Event) -> tuple[Instruction, ...]:
        given = super().tell(event)
        if given or not isinstance(event, Tick):
            self.journal.append(event, given, self.now_s)
        return given


def record(path: Path, *, seed: int, events: int = 60, snapshot_after: int = 0, version: str | None = None) -> Recorded:
    """Three deployments through `events` changes of links, nodes and routers; a snapshot after some of them."""
    draw = random.Random(seed)
    with Journal(path, code_version=version, reserve_bytes=1) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")  # what is tried is not whether it survives
        cluster = Recorded(journal)
        for name in ("classify", "read", "detect"):
            cluster.tell(deploy_requested(name))
            cluster.tell(RouterJoined(deployment=name, router="r1"))
        for number in range(events):
            cluster.now_s += draw.uniform(0.1, 4.0)
            cluster.current = draw.uniform(0.01, 0.5)
            cluster.plan = plan_on(*draw.sample(("camera", "mec", "cloud"), draw.randint(1, 3)))
            cluster.tell(_change(draw))
            for _ in range(draw.randint(0, len(cluster.answers))):
                cluster.tell(cluster.answers.popleft())
            if number + 1 == snapshot_after:
                journal.snapshot(cluster.control, cluster.now_s)
        cluster.settle()
        cluster.tell(DeleteRequested(deployment="read"))
    return cluster


def _change(draw: random.Random) -> Event:
    node, router = draw.choice(("mec", "cloud")), draw.choice(("r2", "r3"))
    changes: tuple[Event, ...] = (
        NodeLost(node=node),
        NodeJoined(node=node),
        Tick(),
        uplink(draw.uniform(5, 500)),
        RouterJoined(deployment="classify", router=router),
        RouterLeft(deployment="classify", router=router),
    )
    return draw.choice(changes)
