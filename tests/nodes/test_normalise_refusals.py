"""What cannot be normalised is refused in one line that names the thing and the way out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from nodes.errors import UnsupportedOperator
from nodes.normalise import normalise
from partitioner.errors import InvalidModel
from tests.nodes.onnx_models import dense, function_node, info, model_of, node, random_weight


def externally_weighted(folder: Path, *, location: str = "weights.bin") -> Path:
    """A model whose only weight, 8 × 4, lies in `location`; the file itself is not written."""
    model = dense()
    tensor = model.graph.initializer[0]
    (folder / "whole.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "128")):
        tensor.external_data.add(key=key, value=value)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refusal(source: Path | ModelProto, **options: object) -> str:
    with pytest.raises(InvalidModel) as caught:
        normalise(source, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x00" * 64, b"# a script"])
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "m.onnx is not an ONNX file" in refusal(tmp_path / "m.onnx")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.onnx")


def test_a_name_defined_twice() -> None:
    model = dense()
    model.graph.node.append(node("Neg", ["hidden"], ["y"]))
    assert "the name 'y' is defined twice" in refusal(model)


def test_a_name_read_but_never_made() -> None:
    model = dense()
    model.graph.node[0].input[0] = "nothing"
    assert "not a valid graph" in (told := refusal(model)) and "nothing" in told


def test_a_free_dimension_names_itself_its_input_and_the_option() -> None:
    told = refusal(dense("batch"))
    assert "dimension batch of input 'x'" in told
    assert "--shape x=1x8" in told and "{x: {shape: [1, 8]}}" in told


@pytest.mark.parametrize("shape", [(1, 9), (1, 8, 1), (8,)])
def test_a_shape_that_contradicts_the_model(shape: tuple[int, ...]) -> None:
    assert f"input 'x' takes [1, 8], shape {list(shape)}" in refusal(dense(), shapes={"x": shape})


def test_a_sample_of_another_dtype() -> None:
    assert "the sample of 'x' is float64 [1, 8]" in refusal(dense(), samples={"x": np.zeros((1, 8))})


def test_a_shape_for_an_input_that_is_not_there() -> None:
    assert "no input 'z'; it has x" in refusal(dense(), shapes={"z": (1,)})


def test_shapes_that_do_not_go_together() -> None:
    model = model_of(
        [node("MatMul", ["x", "w"], ["y"], "project")],
        [info("x", "n", "k")],
        [info("y", "n", 4)],
        [random_weight("w", 8, 4)],
    )
    assert "made" in refusal(model, shapes={"x": (2, 5)})


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    assert "weight 'w' lies in" in (told := refusal(externally_weighted(tmp_path)))
    assert "weights.bin, which is missing" in told


def test_external_data_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 100)
    assert "ends at byte 128" in refusal(externally_weighted(tmp_path))


@pytest.mark.parametrize("location", ["../whole.bin", "/etc/hostname"])
def test_external_data_outside_the_models_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "inner").mkdir()
    assert "outside the model's folder" in refusal(externally_weighted(tmp_path / "inner", location=location))


def test_external_data_of_a_model_in_memory_needs_its_folder(tmp_path: Path) -> None:
    path = externally_weighted(tmp_path, location="whole.bin")
    proto = onnx.load_model(path, load_external_data=False)
    assert "give the model as a file" in refusal(proto)
    assert normalise(proto, directory=tmp_path).proto.graph.node[0].op_type == "MatMul"


def test_an_operator_that_no_engine_here_knows_is_named() -> None:
    model = model_of([node("Foo", ["x"], ["y"], "f", "made.up")], [info("x", 1)], [info("y", 1)], domains=["made.up"])
    with pytest.raises(UnsupportedOperator, match=r"made\.up:Foo, 'f'") as caught:
        normalise(model)
    assert (caught.value.operator, caught.value.backend) == ("f", "onnxruntime")


def test_an_unknown_registered_function() -> None:
    model = model_of([function_node("translate", "x", "y")], [info("x", 1)], [info("y", 1)], domains=["isthmus"])
    assert "no registered function 'translate'" in refusal(model)
