"""A pipeline in YAML: what it means, what it shares with the builder, and what is refused with both ends named."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from examples.spoken_image_search.stages import parts
from isthmus import Pipeline
from nodes.joining.steps import FunctionCall, Loop
from orchestrator.blueprint import pose
from orchestrator.errors import SpecError
from orchestrator.model_file import prepare, read_model
from orchestrator.pipeline_spec import pipeline_of
from orchestrator.signing import SUFFIX, VARIABLE, create_key, public_of, sign
from orchestrator.spec import load_spec, parse_spec
from orchestrator.step_operators import operators_named, steps_of
from partitioner.profile import EngineKey, EngineProfile, Profile
from tests.nodes.joining.test_looping import loop, speaker
from tests.nodes.joining.test_shared_models import embedder

TOPOLOGY: dict[str, Any] = {
    "nodes": [
        {"name": "phone", "tier": "device", "backends": ["onnxruntime"]},
        {"name": "cloud", "tier": "cloud", "backends": ["onnxruntime"]},
    ],
    "links": [{"from": "phone", "to": "cloud", "goodput_mbps": 20, "rtt_ms": 20}],
}
YAML = """
name: named
inputs:
  a: {at: phone, dtype: float32, shape: [1, 8]}
  b: {at: phone, dtype: float32, shape: [1, 8]}
steps:
  one: {model: embedder.onnx, reads: a, at: phone}
  other: {model: embedder.onnx, reads: {x: b}}
  both: {fusion: late, reads: [one, other], params: {weights: [0.25, 0.75]}}
  best: {function: top_k, reads: both, params: {k: 2, labels: {lines: labels.txt}}, at: cloud}
outputs:
  label: best.labels
  share: {from: best.shares, to: phone}
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    embedder(tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join("abcdefgh"))


def told(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(YAML) | {"topology": TOPOLOGY}
    for path, value in changes.items():
        *way, last = path.split("__")
        held = data
        for key in way:
            held = held[key]
        if value is None:
            del held[last]
        else:
            held[last] = value
    return data


def built() -> Pipeline:
    made = Pipeline("named")
    a, b = (made.source(name, at="phone", dtype="float32", shape=(1, 8)) for name in "ab")
    one = made.model("one", Path("embedder.onnx"), a, at="phone")
    other = made.model("other", "embedder.onnx", {"x": b})
    both = made.fusion("both", "late", one, other, weights=(0.25, 0.75))
    best = made.function("best", "top_k", both, at="cloud", k=2, labels={"lines": "labels.txt"})
    made.output("label", best["labels"])
    made.output("share", best["shares"])
    return made


def test_steps_are_joined_and_answer_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "named.yaml").write_text(YAML + yaml.safe_dump({"topology": TOPOLOGY}))
    spec = load_spec(tmp_path / "named.yaml")
    assert dict(spec.pinned) == {"one": "phone", "best": "cloud"}
    assert spec.outputs == (("label", "phone"), ("share", "phone"))
    assert spec.parts == (tmp_path / "embedder.onnx",)
    model = read_model(spec, prepare(spec).path)
    assert set(model.graph.inputs) == {"a", "b"}
    assert set(model.graph.outputs) == {"label", "share"}


def test_the_builder_means_what_the_file_does(tmp_path: Path) -> None:
    written = built().save(tmp_path / "built.yaml", topology=TOPOLOGY)
    spec = built().spec(tmp_path, topology=TOPOLOGY)
    assert load_spec(written) == spec
    by_hand = told(outputs__label={"from": "best.labels"}, outputs__share={"from": "best.shares"})
    by_hand["steps"]["both"]["reads"] = ["one", "other"]
    by_hand["steps"]["best"]["reads"] = ["both"]
    assert parse_spec(by_hand, where="x", folder=tmp_path) == spec


def test_a_function_may_have_an_output_that_nothing_reads(tmp_path: Path) -> None:
    spec = parse_spec(told(outputs={"label": "best.labels"}), where="x", folder=tmp_path)
    made = parts(read_model(spec, prepare(spec).path), tmp_path / "store")
    row = np.ones((1, 8), np.float32)
    assert made.run({"a": row, "b": row})["label"].shape == (2,)
    made.close()


def test_joining_is_done_once_wherever_the_files_lie(tmp_path: Path) -> None:
    first = parse_spec(told(), where="x", folder=tmp_path).model
    at = first.stat().st_mtime_ns
    assert parse_spec(told(), where="y", folder=tmp_path).model == first
    assert first.stat().st_mtime_ns == at
    other = parse_spec(told(steps__both__params={"weights": [1, 3.5]}), where="x", folder=tmp_path).model
    assert other != first


def test_a_step_may_be_named_where_an_operator_may(tmp_path: Path) -> None:
    spec = parse_spec(told(together=[["other", "both"]]), where="x", folder=tmp_path)
    model = read_model(spec, prepare(spec).path)
    key = EngineKey(node_class="any", backend="onnxruntime")
    profile = Profile(
        model=model.sha256, engines={key: EngineProfile(operator_s={one.name: 1e-3 for one in model.graph.operators})}
    )
    problem = pose(spec, model, profile, {"phone": (key,), "cloud": (key,)})
    assert {name for name, node in problem.pinned.items() if node == "phone"} == {"one.multiply", "one.bend"}
    assert problem.pinned["best"] == "cloud"
    (group,) = problem.together
    assert {"other.multiply", "other.bend"} < set(group)
    assert any(name.startswith("both") for name in group)
    assert not any(name.startswith(("one", "best")) for name in group)


def test_operators_that_an_optimiser_made_are_those_of_the_step_that_they_feed(tmp_path: Path) -> None:
    path = tmp_path / "gemm.onnx"
    model = onnx.load(embedder(tmp_path))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(8, np.float32), "c"))
    model.graph.node.insert(1, onnx.helper.make_node("Add", ["product", "c"], ["sum"], "add"))
    model.graph.node[2].input[0] = "sum"
    onnx.save(model, path)
    spec = parse_spec(told(steps__one__model="gemm.onnx"), where="x", folder=tmp_path)
    graph = read_model(spec, prepare(spec).path).graph
    owners = steps_of(graph, spec.steps)
    kinds = {operator.op_type for at, operator in enumerate(graph.operators) if "one" in owners[at]}
    assert "Gemm" in kinds
    assert operators_named(graph, "nothing", spec.steps) == ()


def test_a_batched_call_belongs_to_all_its_steps(tmp_path: Path) -> None:
    spec = parse_spec(told(shared_models="batched", steps__one__at=None), where="x", folder=tmp_path)
    graph = read_model(spec, prepare(spec).path).graph
    assert set(operators_named(graph, "one", spec.steps)) & set(operators_named(graph, "other", spec.steps))
    assert [operator.op_type for operator in graph.operators].count("MatMul") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps__one__reads": "c"}, "x: steps.one reads 'c', which nothing gives; there are a, b"),
        ({"steps__best__reads": "bth"}, "did you mean 'both'?"),
        ({"steps__best__reads": "one.y.z"}, "x: steps.best reads 'one.y.z'"),
        ({"inputs__a__shape": [1, 7]}, r"x: steps.one: one.x takes float32 [?, 8], while a gives float32 [1, 7]"),
        ({"inputs__a__dtype": "int64"}, r"x: steps.one: one.x takes float32 [?, 8], while a gives int64 [1, 8]"),
        ({"inputs__a__dtype": None}, "x: inputs.a.dtype: is missing"),
        ({"steps__one__model": "none.onnx"}, "x: steps.one.model: no file"),
        ({"steps__one__at": "moon"}, "x: steps.one.at: no node 'moon'; nodes are phone, cloud"),
        ({"pinned": {"one": "cloud"}}, "x: steps.one.at: 'phone', while it is pinned, too"),
        ({"steps__one__function": "top_k"}, "x: steps.one: should have one of model, function, fusion, loop, has mod"),
        ({"steps__one": {"reads": "a"}}, "x: steps.one: should have one of model, function, fusion, loop, has none"),
        ({"steps__one__read": "a"}, "x: steps.one.read: unknown key; did you mean 'reads'?"),
        ({"steps__best__params__kk": 1}, "x: steps.best: top_k has no parameter 'kk'; did you mean 'k'?"),
        ({"steps__best__params__labels": {"lines": "no.txt"}}, "x: steps.best.params.labels.lines: no file"),
        (
            {"steps__best__params__labels": {"rows": "labels.txt"}},
            "x: steps.best.params.labels: should be {text: FILE}",
        ),
        ({"steps__best__params__labels": {"json": "labels.txt"}}, "steps.best.params.labels.json: "),
        ({"steps__best__params__labels": []}, "x: steps.best.params.labels: should be a number, text or a list"),
        ({"steps__both__fusion": "sum"}, "x: steps.both: no fusion 'sum'"),
        ({"outputs__label": "best"}, "x: outputs.label reads 'best', which gives best.labels, best.shares; name one"),
        ({"outputs__share": {"to": "phone"}}, "x: outputs.share.from: is missing"),
        ({"outputs": {}}, "x: outputs: is missing"),
        ({"model": "embedder.onnx"}, "x: model: a pipeline's models stand in its steps"),
        ({"steps": None}, "x: outputs.label.from: tells of a pipeline's steps, and there are none"),
        ({"steps__a": {"model": "embedder.onnx", "reads": "b"}}, "x: steps: 'a' is the name of two"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(told(**changes), where="x", folder=tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_steps_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="x: steps: steps feed each other in a circle: one → other → one"):
        parse_spec(told(steps__one__reads="other", steps__other__reads="one"), where="x", folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "x: model: is missing; add it, or steps for a pipeline"),
        ({"model": "embedder.onnx", "shared_models": "apart"}, "x: shared_models: tells of a pipeline's steps"),
        ({"model": "embedder.onnx", "outputs": {"y": {}}}, "x: outputs.y.to: is missing; add it"),
        ({"model": "embedder.onnx", "inputs": {"x": {"at": "phone", "shape": [None, 8]}}}, "told in full"),
    ],
)
def test_without_steps_what_tells_of_them_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    data = {"name": "plain", "topology": TOPOLOGY, "inputs": {"x": {"at": "phone"}}} | changes
    with pytest.raises(SpecError) as caught:
        parse_spec(data, where="x", folder=tmp_path)
    assert said in str(caught.value)


def test_each_model_of_a_pipeline_must_be_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "own.key"
    create_key(key)
    monkeypatch.setenv(VARIABLE, str(public_of(key)))
    spec = parse_spec(told(), where="x", folder=tmp_path)
    with pytest.raises(SpecError, match=r"embedder\.onnx"):
        prepare(spec)
    sign(tmp_path / "embedder.onnx", key)
    prepare(spec)
    (tmp_path / f"embedder.onnx{SUFFIX}").unlink()
    with pytest.raises(SpecError, match=r"embedder\.onnx"):
        prepare(spec)


def test_a_loop_and_its_tokens_may_be_told_in_yaml(tmp_path: Path) -> None:
    step = loop(speaker(tmp_path))
    (tmp_path / "never.json").write_text("[3]")
    written = {
        "loop": step.model.name,
        "reads": dict(step.inputs) if isinstance(step.inputs, dict) else step.inputs,
        "state": dict(step.state),
        "prefix": list(step.prefix),
        "end": step.end,
        "most": step.most,
        "never": {"json": "never.json"},
    }
    (found,) = pipeline_of("p", {step.name: written}, (), {}, where="x", at=tmp_path).steps
    assert isinstance(found, Loop)
    assert (found.never, found.model, found.state) == ((3,), tmp_path / step.model.name, step.state)
    with pytest.raises(SpecError, match=r"x: steps.say.never: should be tokens"):
        pipeline_of("p", {"say": written | {"never": {"text": "never.json"}}}, (), {}, where="x", at=tmp_path)


def test_numbers_of_two_kinds_are_one_list_of_one(tmp_path: Path) -> None:
    steps = {"one": {"function": "f", "reads": "a", "params": {"weights": [1, 0.5], "flag": True}}}
    (found,) = pipeline_of("p", steps, (), {}, where="x", at=tmp_path).steps
    assert isinstance(found, FunctionCall)
    assert found.params == {"weights": [1.0, 0.5], "flag": 1}


def test_a_name_taken_twice_is_refused_by_the_builder() -> None:
    made = Pipeline("p")
    made.source("a", at="phone", dtype="float32")
    with pytest.raises(ValueError, match="'a' is there already"):
        made.source("a", at="phone", dtype="float32")
