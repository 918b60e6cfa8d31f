"""Cells measured on nodes by their own workers: real worker processes on this machine, everything but Ray."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from isthmus.comparison_tables import notes
from nodes.errors import ArtifactError, StreamClosed
from nodes.selecting.cells import Cell, Measured
from nodes.selecting.exchange import Request, Told
from orchestrator.selecting.asked import Asked
from orchestrator.selecting.comparison import Comparison, compare
from orchestrator.selecting.on_nodes import OnNode, machines
from partitioner.topology import Node, Tier, Topology
from tests.eventually import processes_naming
from tests.isthmus.given import model_file
from tests.orchestrator.worker_site import WorkerSite

ENGINES = ("onnxruntime", "openvino")
NODES = tuple(
    Node(name=name, tier=Tier.EDGE, backends=ENGINES, usd_per_hour=price) for name, price in (("a", 0.5), ("b", 0.1))
)


@dataclass
class Site:
    """Workers of a and b. `asked`: the cells that were asked for, by node; `before` hears of each call."""

    workers: WorkerSite
    model: Path
    asked: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, Cell | None], None] = lambda _node, _cell: None

    def run(self, node: str, method: str, *args: Any) -> Any:
        if args[0] == "cell":
            cell = args[1]["request"]["cell"] if args[1]["request"]["folder"] else None
            self.before(node, cell)
            self.asked += [(node, cell["backend"])] if cell else []
        return self.workers.do(self.workers.agent.run(method, node, *args))

    def compare(self) -> Comparison:
        self.workers.do(self.workers.fleet.bring_up(Topology(NODES)))
        self.asked.clear()
        asked = Asked(model=self.model, nodes=NODES, remote=True, variants=("float32",), batches=(1, 2), budget_s=60.0)
        return compare(asked, clock=monotonic, say=lambda _: None, machines=machines(NODES, self.run))

    def kill(self, node: str) -> None:
        os.kill(self.workers.fleet.member(node).found.claimed.pid, signal.SIGKILL)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workers = WorkerSite(tmp_path / "site")
    yield Site(workers, model_file(tmp_path))
    workers.close()
    assert processes_naming(str(tmp_path / "site")) == {}


@pytest.mark.slow
def test_each_node_measures_its_own_cells_once(site: Site) -> None:
    found = site.compare()
    assert sorted((row.node, row.cell.backend) for row in found.rows if row.cell.precision == "float32") == [
        (node, engine) for node in "ab" for engine in ENGINES
    ]
    assert {row.state for row in found.rows} == {"ran"}
    assert {node: words.partition(":")[0] for node, words in found.machines.items()} == {"a": "a", "b": "b"}
    assert [len(found.findings[node].again_s) for node in "ab"] == [3, 3]
    figures = [row.figures for row in found.rows if row.figures is not None]
    assert all(one.accuracy is not None and one.cost.footprint.install_bytes for one in figures)
    assert all([row.batch for row in one.speed.batches] == [2] for one in figures)
    assert found.choice.row is not None and site.compare().resumed == len(found.rows)
    assert site.asked == []


@pytest.mark.slow
def test_a_node_that_goes_midway_is_one_line_and_the_same_command_goes_on(site: Site) -> None:
    def kill_b(node: str, cell: Any) -> None:
        if node == "b" and cell is not None and cell["backend"] == "openvino":
            site.kill("b")

    site.before = kill_b
    found = site.compare()
    states = {node: [row.state for row in found.rows if row.node == node] for node in "ab"}
    assert set(states["a"]) == {"ran"}
    assert sorted(set(states["b"])) == ["left out", "ran"]
    (line,) = (one for one in notes(found) if "is gone" in one)
    assert line.startswith(f"  b: {states['b'].count('left out')} cells left out: node b is gone (no answer from ")
    assert line.endswith("when it is back the same command goes on from here")

    site.before = lambda _node, _cell: None
    site.workers.fleet.lose("b")
    again = site.compare()
    assert {row.state for row in again.rows} == {"ran"}
    assert again.resumed == len(states["a"]) + states["b"].count("ran")
    assert {node for node, engine in site.asked if engine == "openvino"} == {"b"}


def test_a_node_that_is_gone_is_not_asked_again() -> None:
    calls = []

    def gone(*args: Any) -> Any:
        calls.append(args)
        raise StreamClosed("no answer from 10.0.0.2:7000: it is off")

    ask = OnNode("b", gone)
    told = ask(Request(cell=Cell(backend="mnn")), 1.0)
    assert isinstance(told, Told) and told.missing.startswith(
        "node b is gone (no answer from 10.0.0.2:7000: it is off)"
    )
    found = ask(Request(cell=Cell(backend="mnn"), folder="f" * 64), 1.0)
    assert isinstance(found, Measured) and found.state == "left out"
    assert len(calls) == 1


def test_what_a_worker_cannot_do_now_it_is_asked_again() -> None:
    calls = []

    def full(*args: Any) -> Any:
        calls.append(args)
        raise ArtifactError("cannot store model.onnx: No space left on device")

    ask = OnNode("b", full)
    request = Request(cell=Cell(backend="mnn"), folder="f" * 64)
    found = [ask(request, 1.0), ask(request, 1.0)]
    left = Measured(state="left out", reason="node b: cannot store model.onnx: No space left on device")
    assert found == [left, left]
    assert len(calls) == 2
