"""A cluster's status as a controller tells it, without a cluster. Run as a script, it is watched."""

import sys
import time
from typing import Any
from unittest.mock import patch

from isthmus import cli
from orchestrator.events import NodeLost, RouterJoined
from tests.builders import deploy_requested, plan_on, uplink
from tests.orchestrator.cluster import Cluster


def status_of(*, lost: bool = False, mbps: float = 400.0) -> dict[str, Any]:
    """ "classify" runs on camera and cloud; an uplink that was measured, and one decision, 30 s ago."""
    cluster = Cluster(plan_on("camera", "cloud"))
    cluster.tell(deploy_requested())
    cluster.tell(RouterJoined(deployment="classify", router="r1"))
    cluster.settle()
    cluster.tell(uplink(mbps))
    if lost:
        cluster.tell(NodeLost(node="cloud"))
    told = cluster.control.status()
    told["links"][0]["std"] = 0.12
    why = f"link camera → cloud went from 100 to {mbps:g} Mbps"
    history = [{"at_s": time.time() - 30, "what": "switch", "deployment": "classify", "epoch": 1, "why": why}]
    worker = {"address": "127.0.0.1:7070", "pid": 42, "engines": {"onnxruntime": {}, "tensorrt": {"missing": "no GPU"}}}
    return told | {"routers": ["r1"], "history": history, "workers": {"camera": worker, "cloud": worker}}


class FakeClient:
    """Answers with another uplink each time."""

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def status(self) -> dict[str, Any]:
        """The uplink gains 100 Mbps a look."""
        self.asked += 1
        return status_of(mbps=100.0 * self.asked)


if __name__ == "__main__":
    sys.argv = ["isthmus", "status", "--watch", "--every", "0.2", *sys.argv[1:]]
    with patch("isthmus.verbs.watch.joined", lambda address: FakeClient()):
        cli.main()
