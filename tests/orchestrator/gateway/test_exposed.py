"""What a running worker and a running gateway tell Prometheus, against docs/metrics.md and Grafana's dashboards."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodes.codec import pack
from nodes.framing import Header
from nodes.stream import open_connection
from orchestrator.gateway.doors import Doors, Listen
from orchestrator.gateway.models import Given, Question
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.router_source import RouterSource
from orchestrator.gateway.serving import Serving
from orchestrator.router import Router
from orchestrator.yaml_file import read_yaml
from tests.eventually import eventually
from tests.nodes.wires import Inbox
from tests.orchestrator.small_site import WIDE
from tests.orchestrator.worker_site import WorkerSite

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
NEVER_SEEN = {  # all goes well here
    *("isthmus_router_replays", "isthmus_router_repeats", "isthmus_router_faults", "isthmus_gateway_limited"),
}
X = np.zeros((1, WIDE), np.float32)
ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


@dataclass
class Family:
    """One metric as it is told."""

    kind: str
    labels: set[str] = field(default_factory=set)


Told = dict[str, Family]


def scrape(port: int | None) -> Told:
    """What is told at a port, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        page = answer.read().decode()
    found: Told = {}
    for told in text_string_to_metric_families(page):
        labels = {name for sample in told.samples for name in sample.labels if name != "le"}
        found[told.name] = Family(told.type, labels)
    return {name: one for name, one in found.items() if not name.endswith("_created")}


class Running:
    """A gateway in front of a deployment on real workers, that was asked once well and once badly."""

    def __init__(self, workers: WorkerSite) -> None:
        self.workers = workers
        self.doors: Doors
        self.router: Router
        workers.do(self._open())

    async def _open(self) -> None:
        self.router = Router(on_drained=lambda _name, _epoch: None)
        serving = Serving(RouterSource(self.router))
        listen = Listen(grpc=None, http=None, metrics="127.0.0.1:0")
        self.doors = Doors(serving, Repository(serving), listen, self.router.metrics.registry)
        await self.doors.open()
        await self.router.switch(await self.workers.load("told", 1))
        await self.router.probe(1 << 14)
        await self.workers.fleet.call("camera", "probe", 0.1)
        given = Given(name="x", datatype="FP32", shape=X.shape, read=lambda: X)
        await serving.infer("told", "", lambda: Question(inputs=(given,)), lambda reply: reply)
        with pytest.raises(Exception, match="input 'x' is missing"):
            await serving.infer("told", "", lambda: Question(inputs=()), lambda reply: reply)
        await self._spoil()

    async def _spoil(self) -> None:
        """Send a stage what it can not run."""
        inbox = Inbox()
        first, reach = next(iter(self.router.deployments["told"].epochs.values())).first
        stream = await open_connection(reach.address, node="phone", origin="nobody", **inbox.settings())
        header = Header(deployment="told", epoch=1, stage=first, request="spoiled", origin="nobody")
        stream.post(pack(header, {"other": X}, {}))
        await asyncio.wait_for(inbox.frames.get(), 20)
        await stream.close()

    def camera(self) -> Told:
        return scrape(self.workers.fleet.member("camera").found.metrics_port)

    def gateway(self) -> Told:
        return scrape(self.doors.metrics)

    def close(self) -> None:
        self.workers.do(self.doors.close())
        self.workers.do(self.router.close())


def has_links(look: Callable[[], Told]) -> bool:
    """Whether a link's goodput and round trip are known."""
    return all(look()[f"isthmus_link_{name}"].labels for name in ("rtt_seconds", "goodput_bytes_per_second"))


@pytest.fixture(scope="module")
def told(workers: WorkerSite) -> Iterator[dict[str, Told]]:
    """What the two tell, once all of it is there."""
    running = Running(workers)
    try:
        for look in (running.camera, running.gateway):
            eventually(partial(has_links, look), what="links")
        yield {"worker": running.camera(), "gateway": running.gateway()}
    finally:
        running.close()


def documented(which: str) -> Told:
    """The table of docs/metrics.md under the heading of that process."""
    section = re.search(rf"^## .*{which}\n(.*?)(?=^## |\Z)", (ROOT / "docs/metrics.md").read_text(), re.M | re.S)
    assert section is not None
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \| .+ \|$", section[1], re.M)
    assert all(unit for _, _, _, unit in rows)
    kinds = {"untyped": "unknown"}
    return {
        name.removesuffix("_total"): Family(kinds.get(kind, kind), set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in rows
    }


@pytest.mark.parametrize("which", ["worker", "gateway"])
def test_the_documented_metrics_are_those_that_are_told(told: dict[str, Told], which: str) -> None:
    here, there = told[which], documented(which)
    assert {name: one.kind for name, one in there.items()} == {name: one.kind for name, one in here.items()}
    seen = {name: one.labels for name, one in here.items() if one.labels}
    assert {name: one.labels for name, one in there.items() if name in seen} == seen
    assert {name for name, one in there.items() if one.labels} - set(seen) <= NEVER_SEEN


def queries(board: dict[str, Any]) -> Iterator[str]:
    """Every expression of a dashboard: panels', annotations', variables'."""
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["expr"] for one in board["annotations"]["list"])
    yield from (one["definition"] for one in board["templating"]["list"] if one["type"] == "query")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_for_what_is_told(told: dict[str, Told], path: Path) -> None:
    families = told["worker"] | told["gateway"] | documented("worker") | documented("gateway")
    samples = {name + end: one for name, one in families.items() for end in ENDS.get(one.kind, ("",))}
    for query in queries(json.loads(path.read_text())):
        names = set(re.findall(r"\b(?:isthmus|nv)_\w+", query))
        assert names and names <= set(samples), query
        labels = {label.strip() for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(",")}
        labels |= set(re.findall(r"(\w+)=~", query))
        known = {label for name in names for label in samples[name].labels} | {"le", "instance"}
        assert labels <= known, query
        assert all(query.count(one) == query.count(other) for one, other in ("()", "{}", "[]")), query


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_ids_and_units_of_their_own(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == f"isthmus-{path.stem}"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    places = [(at["x"], at["y"]) for at in (panel["gridPos"] for panel in panels)]
    assert len(set(places)) == len(places)


def test_prometheus_is_shown_how_to_scrape() -> None:
    given = read_yaml(ROOT / "deploy/prometheus.yaml")
    jobs = {job["job_name"]: job for job in given["scrape_configs"]}
    assert set(jobs) == {"isthmus-gateway", "isthmus-workers"}
    assert jobs["isthmus-gateway"]["static_configs"] == [{"targets": ["127.0.0.1:8002"]}]
