"""Small models for tests of variants: a convolutional net, a stack of matrix products, and inputs for them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from nodes.backend import Array
from nodes.normalise import normalise
from tests.nodes.onnx_models import INT64, info, model_of, node, random_weight, weight

Feeds = tuple[Mapping[str, Array], ...]


def convolutional(gain: float = 1.0) -> ModelProto:
    """x [1, 3, 8, 8] → two convolutions → pooled → scores [1, 5]; the first one's output is `gain` times as large."""
    first = np.random.default_rng(3).normal(size=(8, 3, 3, 3)) * gain
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"], "relu0"),
        node("Conv", ["r0", "w1", "b1"], ["c1"], "conv1"),
        node("GlobalAveragePool", ["c1"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flatten"),
        node("Gemm", ["f", "w2", "b2"], ["scores"], "classify", transB=1),
    ]
    weights = [
        weight("w0", first),
        weight("b0", np.zeros(8)),
        weight("w1", np.random.default_rng(4).normal(size=(16, 8, 1, 1)) / 8 / gain),
        weight("b1", np.linspace(-1, 1, 16)),
        random_weight("w2", 5, 16, seed=5),
        weight("b2", np.zeros(5)),
    ]
    return model_of(nodes, [info("x", 1, 3, 8, 8)], [info("scores", 1, 5)], weights)


def textual() -> ModelProto:
    """ids [1, 6] → rows of a table → twelve products with Tanh between → y [1, 6, 16]."""
    nodes = [node("Gather", ["table", "ids"], ["h0"], "look_up")]
    for layer in range(12):
        nodes.append(node("MatMul", [f"h{layer}", f"w{layer}"], [f"m{layer}"], f"product{layer}"))
        nodes.append(node("Tanh", [f"m{layer}"], [f"h{layer + 1}"], f"tanh{layer}"))
    nodes.append(node("Identity", ["h12"], ["y"], "give"))
    weights = [random_weight(f"w{layer}", 16, 16, seed=layer) for layer in range(12)]
    weights.append(weight("table", np.random.default_rng(9).normal(size=(30, 16))))
    return model_of(nodes, [info("ids", 1, 6, dtype=INT64)], [info("y", 1, 6, 16)], weights)


def pictures(count: int, seed: int = 0) -> Feeds:
    random = np.random.default_rng(seed)
    return tuple({"x": random.normal(1.0, size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count))


def texts(count: int, seed: int = 0) -> Feeds:
    random = np.random.default_rng(seed)
    return tuple({"ids": random.integers(0, 30, (1, 6))} for _ in range(count))


def on_disk(model: ModelProto, folder: Path) -> Path:
    """The normalised model as a file."""
    path = folder / "model.onnx"
    onnx.save(normalise(model).proto, path)
    return path
