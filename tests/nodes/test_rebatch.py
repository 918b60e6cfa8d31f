"""A model with more rows answers as it does row by row, or is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from nodes.backend import load_backend
from nodes.normalise import normalise
from nodes.rebatch import near, rebatched
from partitioner.errors import InvalidModel
from partitioner.load import load
from tests.contracts.backend_models import normalised_transformer, zoo_model
from tests.nodes.onnx_models import dense, info, model_of, node, two_inputs, weight


def written(model: onnx.ModelProto, folder: Path) -> Path:
    return normalise(model).save(folder / "model.onnx")


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    (made,) = load_backend("onnxruntime").compile(path).run({"x": x}).values()
    return made


def test_a_reshape_with_the_batch_in_it_takes_another(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "to"], ["flat"]), node("Reshape", ["flat", "back"], ["y"])]
    shapes = [weight("to", [1, 12], np.int64), weight("back", [1, 3, 4], np.int64)]
    source = model_of(nodes, [info("x", 1, 3, 4)], [info("y", 1, 3, 4)], shapes)
    path = rebatched(written(source, tmp_path), 5, tmp_path / "five.onnx")
    x = np.random.default_rng(0).random((5, 3, 4), np.float32)
    np.testing.assert_array_equal(answers(path, x), x)
    assert load(path).graph.activations["y"].shape == (5, 3, 4)


def test_every_shape_inside_a_transformer_grows(tmp_path: Path) -> None:
    onnx.save(normalised_transformer().proto, tmp_path / "model.onnx")
    graph = load(rebatched(tmp_path / "model.onnx", 3, tmp_path / "three.onnx")).graph
    assert graph.activations["embedding"].shape == (3, 32)
    assert {operator.name for operator in graph.operators} == {
        operator.name for operator in load(tmp_path / "model.onnx").graph.operators
    }


@pytest.mark.slow
def test_a_zoo_model_takes_four_rows(tmp_path: Path) -> None:
    graph = load(rebatched(zoo_model("efficientnet_lite0"), 4, tmp_path / "four.onnx")).graph
    assert graph.activations["logits"].shape == (4, 1000)


@pytest.mark.parametrize(
    ("source", "rows", "says"),
    [
        (two_inputs(), 4, "has no batch: its inputs' first dimensions are ids 5, gain no dimension"),
        (dense(2), 3, "takes 2 rows at once; 3 is no multiple of that"),
        (
            model_of([node("Softmax", ["x"], ["y"], axis=0)], [info("x", 1, 4)], [info("y", 1, 4)]),
            2,
            "does not take 2 rows at once: of a batch, output 'y' is not its rows' outputs",
        ),
        (
            model_of(
                [node("Reshape", ["x", "to"], ["y"])], [info("x", 1, 4)], [info("y", 4)], [weight("to", [4], np.int64)]
            ),
            2,
            "does not take 2 rows at once",
        ),
    ],
)
def test_what_cannot_be_batched_is_refused(source: onnx.ModelProto, rows: int, says: str, tmp_path: Path) -> None:
    shapes = {"ids": (5,)} if len(source.graph.input) == 2 else None
    path = normalise(source, shapes=shapes).save(tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match=says):
        rebatched(path, rows, tmp_path / "more.onnx")
    assert not (tmp_path / "more.onnx").exists()


INF, NAN, MASK = float("inf"), float("nan"), -3.4e38


@pytest.mark.parametrize(
    ("have", "want", "are"),
    [
        ([1.0, INF, -INF, NAN], [1.0, INF, -INF, NAN], True),
        ([1.0, INF], [1.0, -INF], False),
        ([1.0, MASK], [1.0, -INF], False),
        ([1.0, NAN], [1.0, 1.0], False),
        ([1.0, 2.0, MASK, MASK], [1.1, 2.0, MASK, MASK], False),
        ([1.0, 2.0, MASK, MASK], [1.0001, 2.0, MASK, MASK], True),
        ([1.0, -1e4], [1.1, -1e4], False),
        ([1e-9, 1.0], [2e-9, 1.0], True),  # rounding, beside what is large
        ([3.0, 4e5, 5e5, 6e5, 7e5], [4.0, 4e5, 5e5, 6e5, 7e5], True),
        ([], [], True),
        ([True, False], [True, True], False),
        ([3, 4], [3, 4], True),
    ],
)
def test_answers_are_near_whatever_is_not_finite_or_masked(have: list[float], want: list[float], are: bool) -> None:
    assert near(np.array(have), np.array(want)) is are
