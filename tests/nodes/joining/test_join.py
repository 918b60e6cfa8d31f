"""Steps joined into one model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from nodes.joining.join import join
from nodes.joining.steps import FunctionCall, Fusion, ModelCall, Pipeline, Source, Step
from partitioner.errors import InvalidModel
from tests.nodes.joining.pipelines import doubling, run

X = Source(name="x", dtype="float32", shape=(1, 3))
FRAME = Source(name="frame", dtype="uint8", shape=(4, 4, 3))


def of(*steps: Step, sources: tuple[Source, ...] = (X,), **outputs: str) -> Pipeline:
    return Pipeline(name="pipe", sources=sources, steps=steps, outputs=outputs)


def model(name: str, path: Path, wire: str) -> ModelCall:
    return ModelCall(name=name, model=path, inputs={"x": wire})


def test_one_model_stands_twice_in_a_pipeline(tmp_path: Path) -> None:
    path = doubling(tmp_path)
    pipeline = of(model("late", path, "early.y"), model("early", path, "x"), made="late", between="early")
    made = run(pipeline, {"x": np.float32([[1, 2, 3]])})
    assert made["made"].tolist() == [[4, 8, 12]]
    assert made["between"].tolist() == [[2, 4, 6]]


def test_functions_and_models_meet_in_a_fusion(tmp_path: Path) -> None:
    planes = FunctionCall(name="planes", function="normalise", wires=("frame",), params={"scale": [2.0]})
    votes = FunctionCall(name="rule", function="rule", wires=("mix",), params={"names": ["most"], "when": "most > 5"})
    pipeline = of(
        model("seen", doubling(tmp_path), "x"),
        Fusion(name="mix", fusion="late", wires=("x", "seen"), params={"weights": [3.0, 1.0]}),
        planes,
        votes,
        sources=(X, FRAME),
        mixed="mix",
        planes="planes",
        alarm="rule",
    )
    made = run(pipeline, {"x": np.float32([[2, 4, 8]]), "frame": np.full((4, 4, 3), 6, np.uint8)})
    np.testing.assert_allclose(made["mixed"], [[2.5, 5, 10]])
    assert made["planes"].shape == (1, 3, 4, 4)
    assert made["planes"].max() == 3
    assert made["alarm"].tolist() == [True]


def test_models_of_two_opsets_become_models_of_the_newer_one(tmp_path: Path) -> None:
    old, new = doubling(tmp_path, opset=13), doubling(tmp_path, opset=18)
    pipeline = of(model("one", old, "x"), model("other", new, "one"), made="other")
    (opset,) = [entry.version for entry in join(pipeline).opset_import if not entry.domain]
    assert opset == 18
    assert run(pipeline, {"x": np.float32([[1, 2, 3]])})["made"].tolist() == [[4, 8, 12]]


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        ("y", r"step 'seen' reads 'y', which nothing gives; there are x, label\.labels, label\.shares"),
        ("label", r"step 'seen' reads 'label', which gives label\.labels, label\.shares; name one of them"),
        ("label.labels", r"seen\.x takes float32 \[1, 3\], while label\.labels gives string \[2\]"),
        ("label.shares", r"seen\.x takes float32 \[1, 3\], while label\.shares gives float32 \[2\]"),
    ],
)
def test_a_wrong_wire_is_told_with_both_ends(tmp_path: Path, wire: str, told: str) -> None:
    label = FunctionCall(name="label", function="top_k", wires=("x",), params={"labels": ["a", "b", "c"], "k": 2})
    with pytest.raises(InvalidModel, match=told):
        join(of(label, model("seen", doubling(tmp_path), wire), made="seen"))


def test_a_width_that_differs_is_told_with_both_ends(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"seen\.x takes float32 \[1, 5\], while x gives float32 \[1, 3\]"):
        join(of(model("seen", doubling(tmp_path, width=5), "x"), made="seen"))
    with pytest.raises(InvalidModel, match=r"seen\.x takes float64 \[1, 3\], while x gives float32"):
        join(of(model("seen", doubling(tmp_path, dtype=TensorProto.DOUBLE), "x"), made="seen"))


def test_what_a_free_dimension_will_be_is_seen_when_it_is_there(tmp_path: Path) -> None:
    free = replace(X, shape=(1, None))
    assert run(
        of(model("seen", doubling(tmp_path), "x"), sources=(free,), made="seen"), {"x": np.ones((1, 3), np.float32)}
    )


def test_inputs_fed_twice_never_or_not_there_are_told(tmp_path: Path) -> None:
    path = doubling(tmp_path)
    with pytest.raises(InvalidModel, match=r"step 'seen' feeds no 'x', which doubling3_17_1\.onnx takes"):
        join(of(ModelCall(name="seen", model=path, inputs={}), made="seen"))
    with pytest.raises(InvalidModel, match=r"feeds 'z', which doubling3_17_1\.onnx lacks; it takes x"):
        join(of(ModelCall(name="seen", model=path, inputs={"x": "x", "z": "x"}), made="seen"))


def test_a_circle_is_told(tmp_path: Path) -> None:
    path = doubling(tmp_path)
    with pytest.raises(InvalidModel, match=r"in a circle: (one → other → one|other → one → other)"):
        join(of(model("one", path, "other"), model("other", path, "one"), made="one"))


def test_names_are_given_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="'x' is the name of two"):
        join(of(model("x", doubling(tmp_path), "x"), made="x"))


def test_functions_are_held_to_what_they_take() -> None:
    with pytest.raises(InvalidModel, match=r"step 'read': decode_jpeg takes uint8, while x gives float32 \[1, 3\]"):
        join(of(FunctionCall(name="read", function="decode_jpeg", wires=("x",)), made="read"))
    with pytest.raises(InvalidModel, match="step 'read': nms takes 2 tensors, 1 are given"):
        join(of(FunctionCall(name="read", function="nms", wires=("x",)), made="read"))
    with pytest.raises(InvalidModel, match="step 'read': no registered function 'translate'"):
        join(of(FunctionCall(name="read", function="translate", wires=("x",)), made="read"))


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("no model")
    with pytest.raises(InvalidModel, match=r"step 'seen': .*a\.onnx can't be read as ONNX"):
        join(of(model("seen", tmp_path / "a.onnx", "x"), made="seen"))
