"""One model that several steps run: its weights are there once, and if wanted it runs once for all of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nodes.backend import Array, load_backend
from nodes.joining.join import join
from nodes.joining.steps import ModelCall, Pipeline, Source
from nodes.normalise import normalise
from partitioner.errors import InvalidModel
from partitioner.load import load

WIDTH = 8


def embedder(folder: Path, rows: int | None = None) -> Path:
    """x [rows, 8] → y, through weights of 256 bytes and a bias."""
    weights = np.random.default_rng(3).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "multiply"),
        helper.make_node("Tanh", ["product"], ["y"], "bend"),
    ]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows or "n", WIDTH]) for name in "xy")
    graph = helper.make_graph(nodes, "embedder", [given], [made], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path = folder / f"embedder{rows or ''}.onnx"
    onnx.save(model, path)
    return path


def pipeline(path: Path, *, batched: bool, rows: tuple[int | None, int | None] = (1, 3)) -> Pipeline:
    sources = tuple(
        Source(name=name, dtype="float32", shape=(count, WIDTH)) for name, count in zip("ab", rows, strict=True)
    )
    steps = (
        ModelCall(name="one", model=path, inputs="a"),
        ModelCall(name="other", model=path, inputs={"x": "b"}),
        ModelCall(name="again", model=path, inputs={"x": "one"}),
    )
    return Pipeline(
        name="twice",
        sources=sources,
        steps=steps,
        outputs={"p": "one", "q": "other", "r": "again"},
        batched=batched,
    )


def answers(made: onnx.ModelProto, tmp_path: Path) -> dict[str, Array]:
    path = tmp_path / "joined.onnx"
    normalise(made).save(path)
    random = np.random.default_rng(1)
    feeds = {
        "a": random.standard_normal((1, WIDTH)).astype(np.float32),
        "b": random.standard_normal((3, WIDTH)).astype(np.float32),
    }
    return load_backend("onnxruntime").compile(path).run(feeds)


def test_steps_of_one_model_have_its_weights_in_common(tmp_path: Path) -> None:
    made = join(pipeline(embedder(tmp_path), batched=False))
    assert [tensor.name for tensor in made.graph.initializer] == ["one.w"]
    normalise(made).save(tmp_path / "joined.onnx")
    graph = load(tmp_path / "joined.onnx").graph
    assert graph.weights_of(range(len(graph.operators))) == WIDTH * WIDTH * 4


def test_batched_the_model_runs_once_for_those_that_do_not_wait_for_each_other(tmp_path: Path) -> None:
    made = join(pipeline(embedder(tmp_path), batched=True))
    assert [node.op_type for node in made.graph.node].count("MatMul") == 2  # one and other, then again
    batched, apart = answers(made, tmp_path), answers(join(pipeline(embedder(tmp_path), batched=False)), tmp_path)
    assert set(batched) == {"p", "q", "r"}
    for name, array in apart.items():
        np.testing.assert_allclose(batched[name], array, rtol=1e-6)
        assert batched[name].shape == array.shape


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    path = embedder(tmp_path)
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "w"))
    other = tmp_path / "other.onnx"
    onnx.save(model, other)
    told = pipeline(path, batched=True)
    steps = (told.steps[0], ModelCall(name="other", model=other, inputs="b"), told.steps[2])
    made = join(Pipeline(name="two", sources=told.sources, steps=steps, outputs=told.outputs, batched=True))
    assert [tensor.name for tensor in made.graph.initializer] == ["one.w", "other.w"]
    assert not [node for node in made.graph.node if node.op_type == "Concat"]


def test_what_can_not_be_batched_is_refused_with_the_reason(tmp_path: Path) -> None:
    fixed = pipeline(embedder(tmp_path, rows=1), batched=True, rows=(1, 1))
    with pytest.raises(
        InvalidModel, match=r"step 'one': embedder1.onnx has x of float32 \[1, 8\]; to be batched, its first axis"
    ):
        join(fixed)
    with pytest.raises(InvalidModel, match=r"step 'other': .* one known number of rows, not b float32 \[\?, 8\]"):
        join(pipeline(embedder(tmp_path), batched=True, rows=(1, None)))
