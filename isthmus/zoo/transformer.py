"""What the zoo's transformers are built of: ONNX nodes and weights, gathered front to back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

HIDDEN = -1e4  # added to the scores of what may not be seen: far below any other, and within half precision
OPSET = 17
IR_VERSION = 9

_CONSTANTS = (("one", 1.0), ("half", 0.5), ("rsqrt2", 2**-0.5))


class Blocks:
    """Nodes and weights of layers of one width. Each method returns the name of the tensor that it makes.

    `integers` are further constants, int64 vectors by name: axes, say.
    """

    def __init__(self, *, width: int, heads: int, epsilon: float, integers: Mapping[str, Sequence[int]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._epsilon = epsilon
        for name, value in (*_CONSTANTS, ("root", (width / heads) ** -0.5)):
            self.weight(name, np.float32(value))
        shapes = {"heads": [0, 0, heads, width // heads], "merge": [0, 0, width]}
        for name, numbers in {**integers, **shapes}.items():
            self.weight(name, np.array(numbers, np.int64))

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """The model of what was gathered."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def attend(self, query: str, keys: str, values: str, name: str, bias: str | None = None) -> str:
        """Attention of rows [batch, rows, width] to keys [batch, heads, width / heads, n] and values turned likewise.

        `bias` is added to the scores [batch, heads, rows, n].
        """
        scores = self.add("MatMul", [self.add("Mul", [query, "root"], f"{name}_query_scaled"), keys], f"{name}_scores")
        if bias is not None:
            scores = self.add("Add", [scores, bias], f"{name}_masked")
        shares = self.add("Softmax", [scores], f"{name}_shares", axis=-1)
        mixed = self.add("MatMul", [shares, values], f"{name}_mixed")
        turned = self.add("Transpose", [mixed], f"{name}_mixed_turned", perm=[0, 2, 1, 3])
        return self.add("Reshape", [turned, "merge"], f"{name}_merged")

    def split(self, given: str, name: str, *, keys: bool = False, into: str | None = None) -> str:
        """Rows [batch, n, width] by heads: [batch, heads, n, width / heads], the last two swapped for keys."""
        rows = self.add("Reshape", [given, "heads"], f"{name}_heads")
        return self.add("Transpose", [rows], into or f"{name}_turned", perm=[0, 2, 3, 1] if keys else [0, 2, 1, 3])

    def gelu(self, given: str, name: str) -> str:
        """Each element times the share of a normal distribution below it."""
        error = self.add("Erf", [self.add("Mul", [given, "rsqrt2"], f"{name}_in")], f"{name}_erf")
        product = self.add("Mul", [given, self.add("Add", [error, "one"], f"{name}_1")], f"{name}_x")
        return self.add("Mul", [product, "half"], name)

    def linear(self, given: str, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """The last dimension times `weight` [out, in], plus `bias` [out]."""
        product = self.add("MatMul", [given, self.weight(f"{name}.W", weight.T)], name)
        return self.add("Add", [product, self.weight(f"{name}.B", bias)], f"{name}_bias")

    def norm(self, given: str, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """The last dimension to mean 0 and variance 1, then scaled and shifted."""
        factors = self.weight(f"{name}.W", weight), self.weight(f"{name}.B", bias)
        return self.add("LayerNormalization", [given, *factors], name, axis=-1, epsilon=self._epsilon)

    def add(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Any node of one output, which bears its name."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, array: NDArray[Any] | np.float32) -> str:
        """A constant; half precision is kept as float32."""
        values = np.asarray(array)
        kept = values.astype(np.float32) if values.dtype == np.float16 else values
        self.weights.append(numpy_helper.from_array(np.array(kept, order="C"), name))
        return name
