"""Heavy weights are never copied; those in files of their own are never even read."""

import sys
from pathlib import Path
from subprocess import run

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nodes.backend import load_backend
from nodes.normalise import normalise
from tests.nodes.onnx_models import info, model_of, node, random_weight, weight

ROOT = Path(__file__).parents[2]


def sparse(folder: Path, *, side: int, layers: int) -> Path:
    """x · w0 · w1 …, each weight side × side zeros in a file with a hole for each."""
    nodes = [node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"], f"layer{i}") for i in range(layers)]
    model = model_of(nodes, [info("t0", 1, side)], [info(f"t{layers}", 1, side)])
    nbytes = side * side * 4
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(nbytes * layers)
    for index in range(layers):
        tensor = model.graph.initializer.add(name=f"w{index}", data_type=onnx.TensorProto.FLOAT, dims=[side, side])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "weights.bin"), ("offset", nbytes * index), ("length", nbytes)):
            tensor.external_data.add(key=key, value=str(value))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_a_heavy_weight_stays_as_it_is() -> None:
    model = model_of(
        [node("MatMul", ["x", "w"], ["y"])], [info("x", 1, 600)], [info("y", 1, 600)], [random_weight("w", 600, 600)]
    )
    made = normalise(model).proto.graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(made), numpy_helper.to_array(model.graph.initializer[0]))
    assert made.name == "matmul_1.B"


def test_a_heavy_weight_that_nothing_reads_is_left_out() -> None:
    model = model_of([node("Relu", ["x"], ["y"])], [info("x", 1)], [info("y", 1)], [weight("w", np.zeros((600, 600)))])
    assert list(normalise(model).proto.graph.initializer) == []


def test_external_weights_stay_external(tmp_path: Path) -> None:
    made = normalise(sparse(tmp_path, side=600, layers=2))
    assert made.directory == tmp_path
    assert [tensor.data_location for tensor in made.proto.graph.initializer] == [onnx.TensorProto.EXTERNAL] * 2


def test_light_external_weights_come_inside(tmp_path: Path) -> None:
    made = normalise(sparse(tmp_path, side=10, layers=1)).proto.graph.initializer[0]
    assert made.data_location == onnx.TensorProto.DEFAULT
    assert numpy_helper.to_array(made).shape == (10, 10)


def test_saved_elsewhere_the_weights_come_along(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    path = normalise(sparse(tmp_path / "source", side=600, layers=2)).save(tmp_path / "made" / "m.onnx")
    session = load_backend("onnxruntime").compile(path)
    assert session.run({"t0": np.ones((1, 600), np.float32)})["t2"].sum() == 0


def test_saved_beside_the_source_the_weights_are_shared(tmp_path: Path) -> None:
    path = normalise(sparse(tmp_path, side=600, layers=1)).save(tmp_path / "normalised.onnx")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.onnx", "normalised.onnx", "weights.bin"]
    load_backend("onnxruntime").compile(path)


@pytest.mark.slow
def test_a_model_above_2_gb_takes_little_memory(tmp_path: Path) -> None:
    path = sparse(tmp_path, side=12_000, layers=4)
    assert (tmp_path / "weights.bin").stat().st_size > 2 << 30
    script = (
        "import sys, resource, pathlib; from nodes.normalise import normalise;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "made = normalise(pathlib.Path(sys.argv[1])); made.save(pathlib.Path(sys.argv[1]).parent / 'n' / 'm.onnx');"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown_kb = int(run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, cwd=ROOT).stdout)
    assert grown_kb < 300_000
