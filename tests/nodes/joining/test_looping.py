"""A declared decoder loop: which tokens it says, and what it refuses to be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from nodes.backend import load_backend
from nodes.errors import UnsupportedOperator
from nodes.joining.join import join
from nodes.joining.steps import FunctionCall, Loop, Pipeline, Source
from nodes.normalise import DYNAMIC_KEY, normalise
from nodes.normalising.inference import infer
from partitioner.errors import InvalidModel
from partitioner.extract import extract
from partitioner.load import load
from tests.nodes.joining.pipelines import doubling, run

WORDS, END = 6, 5
LIKED = np.float32([[3, 6, 2, 5, 4, 1]])


def speaker(folder: Path, width: int = WORDS) -> Path:
    """A step that says what is `liked` most and was not said before; at position 2 it would rather end."""
    info, at_two = helper.make_tensor_value_info, np.zeros((8, WORDS), np.float32)
    at_two[2, END] = 2.5
    weights = {
        "words": np.arange(WORDS)[np.newaxis], "one": np.float32(1), "dislike": np.float32(100), "at": at_two,
    }  # fmt: skip
    nodes = [
        helper.make_node("Equal", ["words", "token"], ["here"]),
        helper.make_node("Where", ["here", "one", "heard"], ["heard_next"]),
        helper.make_node("Mul", ["heard_next", "dislike"], ["bias"]),
        helper.make_node("Sub", ["liked", "bias"], ["rather"]),
        helper.make_node("Gather", ["at", "position"], ["now"]),
        helper.make_node("Add", ["rather", "now"], ["logits"]),
    ]
    inputs = [info("token", TensorProto.INT64, [1, 1]), info("position", TensorProto.INT64, [1])]
    inputs += [info(name, TensorProto.FLOAT, [1, WORDS]) for name in ("liked", "heard")]
    outputs = [info("logits", TensorProto.FLOAT, [1, WORDS]), info("heard_next", TensorProto.FLOAT, [1, width])]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    path = folder / f"speaker{width}.onnx"
    graph = helper.make_graph(nodes, "speaker", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def loop(path: Path) -> Loop:
    return Loop(
        name="say", model=path, inputs={"liked": "liked"}, state={"heard_next": "heard"}, prefix=(0,), end=END, most=5
    )


def of(step: Loop) -> Pipeline:
    liked = Source(name="liked", dtype="float32", shape=(1, WORDS))
    return Pipeline(name="pipe", sources=(liked,), steps=(step,), outputs={"said": "say"})


def said(step: Loop) -> list[int]:
    made: list[int] = run(of(step), {"liked": LIKED})["said"][0].tolist()
    return made


def test_what_is_likeliest_is_said_until_the_end_token(tmp_path: Path) -> None:
    assert said(loop(speaker(tmp_path))) == [1, 3, 4, 2, END]


def test_a_prefix_is_heard_but_not_part_of_the_answer(tmp_path: Path) -> None:
    assert said(replace(loop(speaker(tmp_path)), prefix=(0, 3, 1))) == [4, 2, END, END, END]


def test_an_answer_ends_after_the_most_tokens(tmp_path: Path) -> None:
    assert said(replace(loop(speaker(tmp_path)), most=2)) == [1, 3]


def test_tokens_are_kept_from_being_said_at_all_or_at_first(tmp_path: Path) -> None:
    step = loop(speaker(tmp_path))
    assert said(replace(step, never=(3,))) == [1, 4, END, END, END]
    assert said(replace(step, never_first=(1,))) == [3, 1, 4, 2, END]


def test_a_loop_is_one_operator_of_known_shapes_that_can_be_cut_out(tmp_path: Path) -> None:
    proto = normalise(join(of(loop(speaker(tmp_path))))).proto
    assert DYNAMIC_KEY not in {entry.key for entry in proto.metadata_props}
    model = load(proto)
    operator = next(one for one in model.graph.operators if one.op_type == "Loop")
    assert operator.inputs == ("liked",)  # read by the body alone
    assert not any(one.dynamic for one in model.graph.activations.values())
    (piece,) = extract(model, [operator.name], operator.inputs, ["said"])
    assert piece.inputs == ("liked",)


def test_what_a_loop_says_is_read_by_functions(tmp_path: Path) -> None:
    """Their shapes are inferred from the loop's, which ONNX's own inference leaves open."""
    params = {"tokenizer": Tokenizer(WordLevel(dict(zip("abcde", range(5), strict=True)), unk_token="a")).to_str()}
    text = FunctionCall(name="text", function="detokenise", wires=("say",), params=params)
    pipeline = replace(of(loop(speaker(tmp_path))), outputs={"said": "text"})
    pipeline = replace(pipeline, steps=(*pipeline.steps, text))
    assert run(pipeline, {"liked": LIKED})["said"].tolist() == [b"b d e c"]


def test_what_a_trip_makes_larger_keeps_no_shape() -> None:
    """A carried row that grows is known by a run only."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Concat", ["row", "row"], ["wider"], axis=0), helper.make_node("Identity", ["on"], ["more"])],
        "body",
        [info("trip", TensorProto.INT64, []), info("on", TensorProto.BOOL, []), info("row", TensorProto.FLOAT, [1])],
        [info("more", TensorProto.BOOL, []), info("wider", TensorProto.FLOAT, [1])],
    )
    weights = [numpy_helper.from_array(np.array(3), "trips"), numpy_helper.from_array(np.array(True), "go")]
    node = helper.make_node("Loop", ["trips", "go", "x"], ["y"], "grow", body=body)
    ends = [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, ["n"])]
    graph = helper.make_graph([node], "growing", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert [
        entry.name for entry in infer(model).output if entry.type.tensor_type.shape.dim[0].HasField("dim_value")
    ] == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "word"}, r"step 'say': a loop's step takes int64 'word' \[1, 1\], which speaker6.onnx doesn't"),
        ({"logits": "odds"}, r"gives float32 'odds' \[1, vocabulary\], which speaker6.onnx doesn't"),
        ({"state": {"heard_next": "token"}}, "not from 'heard_next' to 'token'"),
        ({"state": {}}, "step 'say' feeds no 'heard', which speaker6.onnx takes"),
        ({"inputs": {}}, "step 'say' feeds no 'liked'"),
        ({"inputs": {"liked": "said"}}, "reads 'said', which nothing gives"),
        ({"prefix": ()}, "starts with a token"),
        ({"most": 0}, "gives one at least"),
        ({"prefix": (END,)}, "token 5 ends the answer"),
        ({"never": (6,)}, "token 6 is none of the 6"),
    ],
)
def test_what_is_no_decoder_loop_is_refused_with_its_name(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    step = replace(loop(speaker(tmp_path)), **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidModel, match=told):
        join(of(step))


def test_a_model_that_makes_no_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"which doubling3_17_1.onnx doesn't"):
        join(of(replace(loop(speaker(tmp_path)), model=doubling(tmp_path))))
    with pytest.raises(InvalidModel, match="of one type and fixed shape"):
        join(of(loop(speaker(tmp_path, width=7))))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "mnn"])
def test_engines_run_a_loop(tmp_path: Path, engine: str) -> None:
    pytest.importorskip({"mnn": "MNN"}.get(engine, engine))
    path = normalise(join(of(loop(speaker(tmp_path))))).save(tmp_path / "loop.onnx")
    session = load_backend(engine).compile(path)
    assert session.run({"liked": LIKED})["said"].tolist() == [[1, 3, 4, 2, END]]
    session.close()


@pytest.mark.slow
def test_an_engine_without_loops_refuses_it_by_name(tmp_path: Path) -> None:
    pytest.importorskip("tvm")
    path = normalise(join(of(loop(speaker(tmp_path))))).save(tmp_path / "loop.onnx")
    with pytest.raises(UnsupportedOperator, match="tvm does not support operator Loop 'say'"):
        load_backend("tvm").compile(path)
