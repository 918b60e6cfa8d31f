"""Several machines in one comparison: each its own figures, all held against one reference."""

from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from nodes.selecting.exchange import Told
from orchestrator.selecting.asked import Asked
from orchestrator.selecting.comparison import Comparison, compare
from orchestrator.selecting.parts import Machine
from partitioner.topology import Node, Tier
from tests.isthmus.given import model_file
from tests.orchestrator.selecting.given import ORT, OV, TOLD, Engines, ran

BOTH = tuple(Node(name=name, tier=Tier.EDGE, backends=("onnxruntime", "openvino")) for name in "ab")
WITHOUT = TOLD | {"onnxruntime": Told(backend="onnxruntime", missing="not there")}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return model_file(tmp_path)


def compared(model: Path, *engines: Engines) -> Comparison:
    asked = Asked(model=model, nodes=BOTH, remote=True, precisions=("float32",), variants=("float32",), batches=(1,))
    there = [Machine(name=node.name, ask=one, nodes=(node,)) for node, one in zip(BOTH, engines, strict=False)]
    return compare(asked, clock=monotonic, say=lambda _: None, machines=there)


def test_each_node_has_its_own_figures(model: Path) -> None:
    found = compared(model, Engines({ORT: ran(0.02), OV: ran(0.01)}), Engines({ORT: ran(0.04), OV: ran(0.03)}))
    assert [(row.node, row.cell.backend) for row in found.rows] == [
        ("a", "openvino"),
        ("a", "onnxruntime"),
        ("b", "openvino"),
        ("b", "onnxruntime"),
    ]
    assert found.choice.row is found.rows[0]
    assert "next, onnxruntime float32 ×1 on a" in found.choice.reason


def test_a_node_without_the_reference_is_held_against_anothers(model: Path) -> None:
    found = compared(model, Engines(told=WITHOUT, off={OV: 0.125}), Engines())
    held = {(row.node, row.cell): row.figures.accuracy for row in found.rows if row.figures is not None}
    errors = {key: one.max_error for key, one in held.items() if one is not None}
    assert errors == {("a", OV): pytest.approx(0.125), ("b", ORT): 0.0, ("b", OV): 0.0}
    assert found.reference_told == "onnxruntime float32 ×1 on b for a; onnxruntime float32 ×1 for b"


def test_two_nodes_that_are_alike_do_not_share_figures(model: Path) -> None:
    alike = {name: replace(one, machine="the same", cores=2) for name, one in TOLD.items()}
    engines = [Engines(told=alike), Engines(told=alike)]
    found = compared(model, *engines)
    assert dict(found.machines) == {"a": "a: the same", "b": "b: the same"}
    assert [OV in one.asked for one in engines] == [True, True]
