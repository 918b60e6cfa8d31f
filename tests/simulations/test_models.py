"""Pipelines as the planner takes them: steps by hand, files that were measured, and the coarse graphs in these."""

from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from partitioner.graph import Activation, Graph, Operator
from partitioner.profile import EngineKey, EngineProfile, Profile, TensorFigure, segment_key
from scripts.coarse_graph import blocks_of, coarse_graph, coarse_profile
from simulations.models import MEASURED, measured, read_measured, read_pipeline, write_measured
from simulations.scenario import Pipeline, Step

KEY = EngineKey(node_class="server", backend="onnxruntime")
# What a chain's tensors take, in bytes: input, then what each operator makes.
SIZES = {"in": 100, "a": 400, "b": 50, "c": 50, "d": 80, "e": 10}
SECONDS = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.5}


def chain() -> Graph:
    """Operators a to e, each reading what the one before made."""
    names = list(SIZES)
    activations = {
        name: Activation(
            name=name, shape=(size,), dtype="uint8", producer=None if at == 0 else at - 1,
            consumers=(at,) if at < len(names) - 1 else (),
        )
        for at, (name, size) in enumerate(SIZES.items())
    }  # fmt: skip
    operators = tuple(
        Operator(name=name, op_type="Step", domain="", inputs=(before,), outputs=(name,), weights=(f"{name}.w",))
        for before, name in pairwise(names)
    )
    weights = dict.fromkeys((f"{name}.w" for name in names[1:]), 7)
    return Graph(
        name="chain", operators=operators, activations=activations, inputs=("in",), outputs=("e",),
        weights_bytes=weights,
    )  # fmt: skip


def profile(*segments: tuple[str, ...]) -> Profile:
    """Operators' seconds, and these segments timed at a second an operator."""
    named = {segment_key(one): one for one in segments}
    engine = EngineProfile(
        operator_s=SECONDS,
        first_s=SECONDS,
        segments=named,
        segment_s={key: float(len(one)) for key, one in named.items()},
        batch_s={1: 1.5},
    )
    figure = {"int8": TensorFigure(ratio=0.25, error=0.01)}
    return Profile(model="sha", engines={KEY: engine}, tensors={"a": figure, "b": figure})


def test_steps_by_hand_are_a_chain_with_their_seconds_and_bytes() -> None:
    steps = (
        Step(name="one", seconds={"phone": 0.2, "server": 0.02}, out_bytes=10, weights_bytes=5),
        Step(name="two", seconds={"server": 0.03}, out_bytes=3),
    )
    model, found = read_pipeline(Pipeline(name="hand", input_bytes=99, steps=steps))
    assert [one.name for one in model.graph.operators] == ["one", "two"]
    assert {name: one.nbytes for name, one in model.graph.activations.items()} == {
        "input": 99, "one.out": 10, "two.out": 3,
    }  # fmt: skip
    assert {key.node_class: engine.operator_s for key, engine in found.engines.items()} == {
        "server": {"one": 0.02, "two": 0.03}
    }


def test_what_was_written_is_read_again_with_the_same_graph_and_profile(tmp_path: Path) -> None:
    write_measured(tmp_path / "chain.json", chain(), profile(("a", "b")), about="made up")
    model, found = read_measured(tmp_path / "chain.json")
    assert model.graph == chain()
    assert found == profile(("a", "b"))
    assert '"about":"made up"' in (tmp_path / "chain.json").read_text()


def test_a_file_that_is_not_there_is_answered_with_those_that_come_along(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"^pipelines\.x: .*no\.json: no such file; .* efficientnet_lite0\.json, minilm"
    ):
        read_pipeline(Pipeline(name="x", model=tmp_path / "no.json"))


def test_an_onnx_file_without_its_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(SpecError, match=r"^pipelines\.x: m\.onnx: an ONNX file needs profile"):
        read_pipeline(Pipeline(name="x", model=tmp_path / "m.onnx"))


@pytest.mark.parametrize("name", measured())
def test_measured_pipelines_say_on_what_and_hold_figures_of_that_class(name: str) -> None:
    path = MEASURED / name
    found = read_pipeline(Pipeline(name="x", model=path))
    assert {key.node_class for key in found[1].engines} == {"xeon-1core"}
    for engine in found[1].engines.values():
        assert set(engine.operator_s) == {one.name for one in found[0].graph.operators}
    assert path.stat().st_size < 300_000
    assert path.read_text().startswith('{"about":"xeon-1core: one thread of ')


def test_cuts_that_cannot_be_best_are_given_up() -> None:
    assert blocks_of(chain()) == ((0, 2), (2, 5))  # behind a, c and d no less is sent than before or after


def test_a_coarse_graph_has_the_blocks_tensors_and_weights() -> None:
    coarse = coarse_graph(chain(), ((0, 2), (2, 5)))
    assert [(one.name, one.inputs, one.outputs) for one in coarse.operators] == [
        ("a..b", ("in",), ("b",)),
        ("c..e", ("b",), ("e",)),
    ]
    assert coarse.weights_of([0]) == 14
    assert (coarse.activations["b"].producer, coarse.activations["b"].consumers) == (0, (1,))
    assert set(coarse.activations) == {"in", "b", "e"}


def test_a_coarse_profile_adds_seconds_up_and_keeps_segments_of_whole_blocks() -> None:
    found = coarse_profile(profile(("a", "b"), ("a", "b", "c")), chain(), ((0, 2), (2, 5)))
    engine = found.engines[KEY]
    assert engine.operator_s == pytest.approx({"a..b": 0.3, "c..e": 1.2})
    assert engine.segments == {segment_key(("a..b",)): ("a..b",)}
    assert engine.segment_s == {segment_key(("a..b",)): 2.0}
    assert set(found.tensors) == {"b"}
