"""ResNet-18 (He et al., Deep Residual Learning for Image Recognition, 2015) as ONNX: its shape, with random weights."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

WIDTHS, CLASSES = (64, 128, 256, 512), 1000


def resnet18(path: Path) -> Path:
    """Write the model, x float32 [1, 3, 224, 224] → y [1, 1000], batch normalisation folded into the convolutions."""
    made = _Layers()
    made.conv("x", "stem", 3, 64, 7, 2)
    made.add("MaxPool", ["stem"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    last, width = "pool", 64
    for stage, wide in enumerate(WIDTHS):
        for block in range(2):
            at, stride = f"s{stage}b{block}", 2 if stage and not block else 1
            made.conv(last, f"{at}a", width, wide, 3, stride)
            made.conv(f"{at}a", f"{at}b", wide, wide, 3, 1, relu=False)
            if stride > 1:
                made.conv(last, f"{at}short", width, wide, 1, stride, relu=False)
                last = f"{at}short"
            made.add("Add", [f"{at}b", last], f"{at}sum")
            made.add("Relu", [f"{at}sum"], at)
            last, width = at, wide
    made.add("GlobalAveragePool", [last], "mean")
    made.add("Flatten", ["mean"], "flat")
    made.weight("classify", width, CLASSES)
    made.add("MatMul", ["flat", "classify"], "y")
    ends = [
        helper.make_tensor_value_info(*end)
        for end in (("x", onnx.TensorProto.FLOAT, [1, 3, 224, 224]), ("y", onnx.TensorProto.FLOAT, [1, CLASSES]))
    ]
    graph = helper.make_graph(made.nodes, "resnet18", ends[:1], ends[1:], made.weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


class _Layers:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def weight(self, name: str, *shape: int) -> None:
        scale = (2 / np.prod(shape[1:] or shape)) ** 0.5
        self.weights.append(numpy_helper.from_array((self._random.normal(size=shape) * scale).astype(np.float32), name))

    def add(self, kind: str, given: list[str], made: str, **attributes: object) -> None:
        self.nodes.append(helper.make_node(kind, given, [made], made, **attributes))

    def conv(self, given: str, made: str, narrow: int, wide: int, size: int, stride: int, *, relu: bool = True) -> None:
        self.weight(f"{made}.w", wide, narrow, size, size)
        out = f"{made}.conv" if relu else made
        pads = [size // 2] * 4
        self.add("Conv", [given, f"{made}.w"], out, kernel_shape=[size, size], strides=[stride, stride], pads=pads)
        if relu:
            self.add("Relu", [out], made)
