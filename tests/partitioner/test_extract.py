import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from partitioner.errors import InvalidModel, InvalidProblem
from partitioner.extract import extract, save_onnx, tensor_manifest
from partitioner.load import load
from tests.partitioner.onnx_builders import (
    Arrays,
    branched,
    info,
    model_of,
    run_files,
    run_piece,
    run_whole,
    weight,
    with_if,
    with_shape_read_late,
)

X = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)


def in_turn(model: ModelProto, stages: list[tuple[list[str], list[str], list[str]]], feeds: Arrays, at: Path) -> Arrays:
    """What the stages, each (operators, inputs, outputs), make one after the other."""
    known = dict(feeds)
    loaded = load(model)
    for operators, inputs, outputs in stages:
        given = {name: known[name] for name in inputs}
        for piece in extract(loaded, operators, inputs, outputs):
            given |= run_piece(piece, given, at)
        known |= {name: given[name] for name in outputs}
    return known


def assert_same(
    model: ModelProto, stages: list[tuple[list[str], list[str], list[str]]], feeds: Arrays, at: Path
) -> None:
    split, whole = in_turn(model, stages, feeds, at), run_whole(model, feeds, at)
    for name, value in whole.items():
        assert np.allclose(split[name].astype(np.float32), value.astype(np.float32), rtol=1e-5, atol=1e-6)


def test_an_activation_read_in_several_stages_and_an_output_made_midway(tmp_path: Path) -> None:
    stages = [(["first"], ["x"], ["a"]), (["left"], ["a"], ["b"]), (["right", "join"], ["a", "b"], ["y"])]
    assert_same(branched(), stages, {"x": X}, tmp_path)


def test_a_weight_used_by_several_stages_is_in_each() -> None:
    model = load(branched())
    for operators, inputs, outputs in ((["first"], ["x"], ["a"]), (["left"], ["a"], ["b"])):
        (piece,) = extract(model, operators, inputs, outputs)
        assert piece.model is not None
        assert [one.name for one in piece.model.graph.initializer] == ["w"]


def test_a_node_left_and_re_entered_runs_as_two_stages(tmp_path: Path) -> None:
    stages = [(["first"], ["x"], ["a"]), (["right"], ["a"], ["c"]), (["left", "join"], ["a", "c"], ["b", "y"])]
    assert_same(branched(), stages, {"x": X}, tmp_path)


def test_an_outer_name_read_in_a_body_is_an_input_of_the_piece(tmp_path: Path) -> None:
    stages = [(["relu"], ["x"], ["a"]), (["choose", "neg"], ["flag", "a"], ["y"])]
    (piece,) = extract(load(with_if()), *stages[1])
    assert set(piece.inputs) == {"flag", "a"}
    for flag in (True, False):
        assert_same(with_if(), stages, {"x": X, "flag": np.array(flag)}, tmp_path)


def test_a_shape_of_the_input_read_deep_in_the_graph_crosses_the_cut(tmp_path: Path) -> None:
    stages = [(["first", "flatten"], ["x"], ["f"]), (["shape", "reshape"], ["x", "f"], ["y"])]
    assert_same(with_shape_read_late(), stages, {"x": X}, tmp_path)


def test_functions_alternate_with_as_few_models_as_they_allow() -> None:
    nodes = [
        helper.make_node("resize", ["x"], ["r"], "resize", domain="isthmus", height=2, mode="bilinear"),
        helper.make_node("Relu", ["r"], ["a"], "relu"),
        helper.make_node("Neg", ["x"], ["n"], "neg"),
        helper.make_node("normalise", ["a"], ["b"], "norm", domain="isthmus"),
        helper.make_node("Add", ["b", "n"], ["y"], "add"),
    ]
    infos = [info(name, 4, 4) for name in ("r", "a", "n", "b")]
    model = load(model_of(nodes, [info("x", 4, 4)], [info("y", 4, 4)], (), infos))
    pieces = extract(model, [node.name for node in nodes], ["x"], ["y"])
    assert [piece.function or "onnx" for piece in pieces] == ["resize", "onnx", "normalise", "onnx"]
    assert pieces[0].manifest_step() == {
        "function": "resize", "params": {"height": 2, "mode": "bilinear"}, "inputs": ["x"], "outputs": ["r"],
    }  # fmt: skip
    assert pieces[1].manifest_step("model-0.onnx")["onnx"] == "model-0.onnx"
    assert pieces[3].inputs == ("b", "n")


def test_our_own_domain_is_not_asked_of_engines() -> None:
    (piece,) = extract(load(branched()), ["first"], ["x"], ["a"])
    assert piece.model is not None
    assert [one.domain for one in piece.model.opset_import] == [""]


def test_a_missing_input_is_named_with_its_operator() -> None:
    with pytest.raises(InvalidProblem, match="'left' reads 'a'"):
        extract(load(branched()), ["left"], [], ["b"])


@pytest.mark.parametrize(("operators", "outputs", "told"), [(["nope"], [], "'nope'"), (["first"], ["y"], "output 'y'")])
def test_what_a_stage_cannot_be_is_refused(operators: list[str], outputs: list[str], told: str) -> None:
    with pytest.raises(InvalidProblem, match=told):
        extract(load(branched()), operators, ["x"], outputs)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_weights_in_external_data_reach_the_piece_inside_or_beside(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "m.onnx"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "matmul")]
    whole = model_of(nodes, [info("x", 4, 64)], [info("y", 4, 64)], [weight("w", 64, 64)])
    feeds: Arrays = {"x": np.ones((4, 64), np.float32)}
    expected = run_whole(whole, feeds, tmp_path)["y"]
    onnx.save(whole, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    model = load(path)
    assert model.graph.weights_bytes == {"w": 64 * 64 * 4}
    (piece,) = extract(model, ["matmul"], ["x"], ["y"])
    out = tmp_path / "out"
    out.mkdir()
    assert np.array_equal(run_piece(piece, feeds, out, limit)["y"], expected)
    assert (out / "piece.data").exists() == (limit == 0)


def test_small_constants_stay_in_the_model_when_weights_go_beside(tmp_path: Path) -> None:
    (piece,) = extract(load(branched()), ["first", "left", "right", "join"], ["x"], ["y"])
    assert piece.model is not None
    save_onnx(piece.model, tmp_path / "p.onnx", None, external_above_bytes=0)
    saved = onnx.load(tmp_path / "p.onnx", load_external_data=False)
    assert {one.data_location for one in saved.graph.initializer} == {TensorProto.DEFAULT}


def test_external_data_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(branched(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    (tmp_path / "m.bin").unlink()
    (piece,) = extract(load(path), ["first"], ["x"], ["a"])
    assert piece.model is not None
    with pytest.raises(InvalidModel, match=r"m\.bin is missing"):
        save_onnx(piece.model, tmp_path / "p.onnx", tmp_path)


def test_external_data_outside_the_models_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(branched(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = "../m.bin" if entry.key == "location" else entry.value
    with pytest.raises(InvalidModel, match="leaves the model's folder"):
        save_onnx(proto, tmp_path / "p.onnx", tmp_path)


def test_a_dynamic_tensors_dimensions_are_free_in_the_manifest() -> None:
    nodes = [helper.make_node("decode_jpeg", ["jpeg"], ["x"], "decode", domain="isthmus")]
    proto = model_of(nodes, [info("jpeg", 9000, dtype=TensorProto.UINT8)], [info("x", 8, 8, 3)])
    proto.metadata_props.add(key="isthmus.dynamic", value="jpeg")
    assert tensor_manifest(load(proto), ["jpeg", "x"]) == [
        {"name": "jpeg", "dtype": "uint8", "shape": [None]},
        {"name": "x", "dtype": "float32", "shape": [8, 8, 3]},
    ]


def weights_in_holes(folder: Path, side: int) -> Path:
    """Two MatMuls by `side` × `side` weights that lie, all zeros, in one sparse file; then a bias of ones."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "m0"),
        helper.make_node("MatMul", ["a", "w1"], ["b"], "m1"),
        helper.make_node("Add", ["b", "ones"], ["y"], "add"),
    ]
    ones = onnx.numpy_helper.from_array(np.ones(side, np.float32), "ones")
    proto = model_of(
        nodes, [info("x", 1, side)], [info("y", 1, side)], [ones], [info("a", 1, side), info("b", 1, side)]
    )
    for number in range(2):
        large = proto.graph.initializer.add(
            name=f"w{number}", data_type=TensorProto.FLOAT, dims=[side, side], data_location=TensorProto.EXTERNAL
        )
        for key, value in {"location": "w.bin", "offset": number * 4 * side**2, "length": 4 * side**2}.items():
            large.external_data.add(key=key, value=str(value))
    onnx.save(proto, folder / "m.onnx")
    with (folder / "w.bin").open("wb") as data:
        data.truncate(8 * side**2)
    return folder / "m.onnx"


def test_holes_in_external_data_stay_holes(tmp_path: Path) -> None:
    (piece,) = extract(load(weights_in_holes(tmp_path, 4096)), ["m0", "m1", "add"], ["x"], ["y"])
    assert piece.model is not None
    files = save_onnx(piece.model, tmp_path / "p.onnx", piece.directory, external_above_bytes=0)
    assert files[1].stat().st_size >= 8 * 4096**2
    assert files[1].stat().st_blocks * 512 < 1_000_000


@pytest.mark.slow
def test_weights_above_two_gigabytes_are_cut_without_being_held_and_run(tmp_path: Path) -> None:
    side = 16_400  # 2.15 GB of weights, above what protobuf holds
    if shutil.disk_usage(tmp_path).free < 6e9 or os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 8e9:
        pytest.skip("needs 6 GB of disk and 8 GB of memory")
    model = load(weights_in_holes(tmp_path, side))
    assert model.graph.weights_of(range(3)) == 8 * side**2 + 4 * side
    (piece,) = extract(model, ["m0", "m1", "add"], ["x"], ["y"])
    assert piece.model is not None
    tracemalloc.start()
    (tmp_path / "out").mkdir()
    files = save_onnx(piece.model, tmp_path / "out" / "p.onnx", piece.directory)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(files), files[0].stat().st_size < 1e6, peak_bytes < 2e8) == (2, True, True)
    made = run_files(files[0], {"x": np.ones((1, side), np.float32)})
    assert made["y"].tolist() == [[1.0] * side]
