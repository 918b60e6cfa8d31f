"""A long and busy history of a control core, printed: two runs of it must print the same, whatever the hash seed."""

import random

from orchestrator.events import NodeJoined, NodeLost, RouterJoined, Tick
from orchestrator.plain import to_plain
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster


def tell_history() -> list[str]:
    """Every instruction of 300 events over three deployments, as text."""
    draw = random.Random(7)
    cluster = Cluster(plan_on("camera", "mec", "cloud"))
    for name in ("classify", "read", "detect"):
        cluster.tell(deploy_requested(name))
        for router in ("r1", "r2", "r3"):
            cluster.tell(RouterJoined(deployment=name, router=router))
    for _ in range(300):
        cluster.now_s += 3.0
        cluster.current = draw.uniform(0.01, 0.5)
        cluster.plan = plan_on(*draw.sample(("camera", "mec", "cloud"), draw.randint(1, 3)))
        node = draw.choice(("mec", "cloud"))
        cluster.tell(draw.choice((NodeLost(node=node), NodeJoined(node=node), Tick(), uplink(draw.uniform(5, 500)))))
        for _ in range(draw.randint(0, len(cluster.answers))):
            cluster.tell(cluster.answers.popleft())
    return [str(to_plain(instruction)) for instruction in cluster.given] + [str(cluster.control.status())]


if __name__ == "__main__":
    print("\n".join(tell_history()))  # noqa: T201
