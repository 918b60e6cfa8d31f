"""Small int8 models as quantisers write them, and the float models that they stand for."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from nodes.backend import Array
from tests.nodes.onnx_models import info, model_of, node, weight

STEP = 0.05  # of the activations' unsigned bytes
SIZE = 16


def kernels() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return (random.normal(size=(8, 4, 3, 3)) / 6).astype(np.float32), (random.normal(size=(4, 8, 1, 1)) / 3).astype(
        np.float32
    )


def picture() -> dict[str, Array]:
    return {"x": np.random.default_rng(1).normal(size=(1, 4, SIZE, SIZE)).astype(np.float32)}


def float_cnn() -> ModelProto:
    """x [1, 4, 16, 16] → 3 × 3 convolution → relu → 1 × 1 convolution → y [1, 4, 16, 16]."""
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], "conv0", pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"], "relu0"),
        node("Conv", ["r0", "w1"], ["y"], "conv1"),
    ]
    shape = (1, 4, SIZE, SIZE)
    weights = [weight(f"w{at}", kernel) for at, kernel in enumerate(kernels())]
    return model_of(nodes, [info("x", *shape)], [info("y", *shape)], weights)


def static_cnn() -> ModelProto:
    """The same with Q/DQ pairs: activations as unsigned, weights as signed bytes (u8s8)."""
    nodes: list[NodeProto] = []
    weights: list[TensorProto] = [
        weight("step", STEP),
        weight("middle", 128, np.uint8),
        weight("none", 0, np.uint8),
        weight("even", 0, np.int8),
    ]

    def rounded(name: str, zero: str = "middle") -> str:
        nodes.append(node("QuantizeLinear", [name, "step", zero], [f"{name}_q"], f"{name}_quantise"))
        nodes.append(node("DequantizeLinear", [f"{name}_q", "step", zero], [f"{name}_d"], f"{name}_dequantise"))
        return f"{name}_d"

    def constant(name: str, values: Array) -> str:
        step = np.abs(values).max() / 127
        weights.extend([weight(f"{name}_step", step), weight(f"{name}_q", np.round(values / step), np.int8)])
        nodes.append(node("DequantizeLinear", [f"{name}_q", f"{name}_step", "even"], [f"{name}_d"], f"{name}_dq"))
        return f"{name}_d"

    first, second = kernels()
    nodes.append(node("Conv", [rounded("x"), constant("w0", first)], ["c0"], "conv0", pads=[1, 1, 1, 1]))
    nodes.append(node("Relu", ["c0"], ["r0"], "relu0"))
    nodes.append(node("Conv", [rounded("r0", "none"), constant("w1", second)], ["c1"], "conv1"))
    nodes.append(node("Identity", [rounded("c1")], ["y"], "out"))
    shape = (1, 4, SIZE, SIZE)
    return model_of(nodes, [info("x", *shape)], [info("y", *shape)], weights)


def table() -> Array:
    return np.random.default_rng(2).normal(size=(32, 8)).astype(np.float32)


def rows() -> dict[str, Array]:
    return {"x": np.random.default_rng(3).normal(size=(3, 32)).astype(np.float32)}


def dynamic_product() -> ModelProto:
    """x [rows, 32] · w → y [rows, 8], the rows quantised as they come and the weights beforehand."""
    step = np.abs(table()).max() / 127
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["x_q", "x_step", "x_zero"], "quantise"),
        node("MatMulInteger", ["x_q", "w_q", "x_zero"], ["product"], "multiply"),
        node("Cast", ["product"], ["product_f"], "cast", to=TensorProto.FLOAT),
        node("Mul", ["x_step", "w_step"], ["steps"], "steps"),
        node("Mul", ["product_f", "steps"], ["y"], "scale"),
    ]
    weights = [weight("w_q", np.round(table() / step), np.int8), weight("w_step", step)]
    return model_of(nodes, [info("x", "rows", 32)], [info("y", "rows", 8)], weights)


def error(have: Array, want: Array) -> float:
    """The largest difference over the largest magnitude."""
    return float(np.abs(have - want).max() / np.abs(want).max())
