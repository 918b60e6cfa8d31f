"""Small models for pipelines to run, and pipelines run as one model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nodes.joining.join import join
from nodes.joining.steps import Pipeline
from nodes.normalise import normalise
from nodes.normalising import functions
from nodes.normalising.evaluate import Evaluator, Values

Arrays = Mapping[str, NDArray[Any]]


def doubling(folder: Path, width: int = 3, opset: int = 17, dtype: int = TensorProto.FLOAT) -> Path:
    """`x` [1, width] → `y`, twice as much."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"], "double")],
        "doubling",
        [info("x", dtype, [1, width])],
        [info("y", dtype, [1, width])],
        [numpy_helper.from_array(np.array(2, helper.tensor_dtype_to_np_dtype(dtype)), "two")],
    )
    path = folder / f"doubling{width}_{opset}_{dtype}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def run(pipeline: Pipeline, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """Its outputs, from the joined model once that is normalised: as planning gets it."""
    proto = normalise(join(pipeline), samples=feeds).proto
    types = {entry.name: functions.type_of(entry) for entry in proto.graph.input}
    split = functions.split(proto, dict(types), pipeline.name)
    values = Values(Evaluator(split.core, split.functions, types, pipeline.name), feeds)
    return {name: values.value(name) for name in pipeline.outputs}
