"""Registered functions inside a model survive normalisation, wherever they stand."""

from io import BytesIO

import numpy as np
import onnx
import pytest
from PIL import Image

from nodes.backend import Array
from nodes.normalise import normalise
from partitioner.errors import InvalidModel
from partitioner.load import load
from tests.nodes.onnx_models import UINT8, function_node, info, model_of, node, pictured, random_weight


def photo(width: int = 20, height: int = 10) -> Array:
    file = BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


def re_encoded() -> onnx.ModelProto:
    """A frame doubled by an engine, then JPEG-encoded, decoded and summed: functions between two pure parts."""
    nodes = [
        node("Add", ["frame", "frame"], ["brighter"], "brighten"),
        function_node("encode_jpeg", "brighter", "coded", quality=90),
        function_node("decode_jpeg", "coded", "again"),
        node("Cast", ["again"], ["floats"], "widen", to=1),
        node("ReduceSum", ["floats"], ["total"], "add_up", keepdims=0),
    ]
    return model_of(nodes, [info("frame", 8, 8, 3, dtype=UINT8)], [info("total")], domains=["isthmus"])


def test_functions_stand_where_they_stood() -> None:
    made = normalise(pictured(), samples={"photo": photo()}).proto
    assert [(one.domain, one.op_type) for one in made.graph.node] == [
        ("isthmus", "decode_jpeg"),
        ("isthmus", "resize"),
        ("isthmus", "normalise"),
        ("", "Flatten"),
        ("", "MatMul"),
    ]


def test_shapes_that_depend_on_the_data_are_the_samples_and_marked() -> None:
    graph = load(normalise(pictured(), samples={"photo": photo(20, 10)}).proto).graph
    dynamic = {name: one.shape for name, one in graph.activations.items() if one.dynamic}
    assert sorted(dynamic.values()) == [(10, 20, 3), (photo().size,)]
    assert "photo" in dynamic


def test_what_follows_a_resize_is_fixed_again() -> None:
    graph = load(normalise(pictured(), samples={"photo": photo()}).proto).graph
    (resize,) = (one for one in graph.operators if one.op_type == "resize")
    assert graph.activations[resize.outputs[0]].shape == (4, 4, 3)
    assert not graph.activations[resize.outputs[0]].dynamic


def test_a_picture_needs_a_sample() -> None:
    with pytest.raises(InvalidModel, match="dimension n of input 'photo' is free"):
        normalise(pictured())


def test_a_sample_that_is_no_picture_is_refused() -> None:
    with pytest.raises(InvalidModel, match=r"decode_jpeg of 'photo'.*not a JPEG.*give a sample"):
        normalise(pictured(), shapes={"photo": (100,)})


def test_functions_between_two_pure_parts_are_kept_in_order() -> None:
    made = normalise(re_encoded()).proto
    graph = load(made).graph
    assert [one.op_type for one in graph.operators] == ["Add", "encode_jpeg", "decode_jpeg", "Cast", "ReduceSum"]
    dynamic = [one.op_type for one in graph.operators if graph.activations[one.outputs[0]].dynamic]
    assert dynamic == ["encode_jpeg", "decode_jpeg", "Cast"]


def test_a_model_of_functions_alone_is_a_model() -> None:
    nodes = [function_node("resize", "frame", "small", size=[2, 2])]
    model = model_of(
        nodes, [info("frame", 8, 8, 3, dtype=UINT8)], [info("small", 2, 2, 3, dtype=UINT8)], domains=["isthmus"]
    )
    assert load(normalise(model).proto).graph.operators[0].op_type == "resize"


def test_what_a_function_gives_can_be_an_output() -> None:
    model = pictured()
    model.graph.output.append(info("planes", 1, 3, 4, 4))
    made = normalise(model, samples={"photo": photo()}).proto
    assert [entry.name for entry in made.graph.output] == ["y", "planes"]
    assert load(made).graph.activations["planes"].shape == (1, 3, 4, 4)


def test_a_function_cannot_take_what_it_is_given() -> None:
    nodes = [function_node("normalise", "x", "y")]
    model = model_of(nodes, [info("x", 4)], [info("y", 1)], [random_weight("w", 1)], domains=["isthmus"])
    with pytest.raises(InvalidModel, match="normalise"):
        normalise(model)
