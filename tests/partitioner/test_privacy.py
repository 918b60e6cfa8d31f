import pytest
from onnx import TensorProto, helper

from partitioner.errors import InvalidProblem
from partitioner.graph import Graph
from partitioner.load import load
from partitioner.privacy import pixel_forms
from tests.partitioner.onnx_builders import info, model_of, weight, with_shape_read_late


def camera_graph() -> Graph:
    """jpeg → decode → resize → Transpose → Conv → Relu, and the other input z joins at the end."""
    nodes = [
        helper.make_node("decode_jpeg", ["jpeg"], ["pixels"], "decode", domain="isthmus"),
        helper.make_node("resize", ["pixels"], ["small"], "resize", domain="isthmus"),
        helper.make_node("Transpose", ["small"], ["planes"], "transpose"),
        helper.make_node("Conv", ["planes", "w"], ["features"], "conv"),
        helper.make_node("Relu", ["features"], ["active"], "relu"),
        helper.make_node("Add", ["active", "z"], ["y"], "add"),
    ]
    infos = [info(name, 1, 3, 4, 4) for name in ("pixels", "small", "planes", "features", "active")]
    inputs = [info("jpeg", 100, dtype=TensorProto.UINT8), info("z", 1, 3, 4, 4)]
    return load(model_of(nodes, inputs, [info("y", 1, 3, 4, 4)], [weight("w", 3, 3, 1, 1)], infos)).graph


def test_an_image_moved_or_recoded_is_an_image_until_learned_weights_mix_it() -> None:
    assert pixel_forms(camera_graph(), ["jpeg"]) == {"jpeg", "pixels", "small", "planes"}


def test_until_keeps_all_on_the_way_to_an_operator_but_not_its_outputs() -> None:
    kept = pixel_forms(camera_graph(), ["jpeg"], until="relu")
    assert kept == {"jpeg", "pixels", "small", "planes", "features"}


def test_what_comes_from_another_input_alone_is_not_kept() -> None:
    assert "z" not in pixel_forms(camera_graph(), ["jpeg"], until="add")


def test_the_shape_of_an_image_is_no_image() -> None:
    assert pixel_forms(load(with_shape_read_late()).graph, ["x"]) == {"x"}


@pytest.mark.parametrize(("inputs", "until"), [(["planes"], None), (["jpeg"], "nope")])
def test_unknown_names_are_refused(inputs: list[str], until: str | None) -> None:
    with pytest.raises(InvalidProblem):
        pixel_forms(camera_graph(), inputs, until)
