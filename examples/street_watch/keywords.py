"""Trains the head that tells which keyword was said: a linear layer over the largest of a clip's sixteen vectors.

Each training word is put into the noise of a street at several places and loudnesses. scikit-learn fits the layer in
well under a second; hearing the clips takes some more. Ten other words are few to learn from: of words that it never
heard, said by other voices in loud streets, it takes one in five or six for a keyword.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from examples.street_watch.situations import CLIPS, KEYWORDS
from isthmus import zoo
from isthmus.zoo import hearing
from isthmus.zoo.packages import file_in
from nodes.backend import load_backend
from nodes.functions import function
from nodes.functions.sound import RATE

CLASSES = ("", *KEYWORDS)  # the first: another word, or none
LOUDER = (30.0, 15.0, 8.0)  # decibels above the street
STREETS = 30  # clips of noise alone
SEED = 1
SPEECH_LEVEL = 0.07  # about the root mean square of what espeak-ng says

Floats = NDArray[np.float32]


def head(path: Path) -> Path:
    """The trained head as an ONNX model at `path`: float32 `vectors` [16, 96] → `logits` [1, 4] of CLASSES, and
    `called` [1], how likely it is that a keyword was said. WeightsMissing where a package is not installed.
    """
    file_in("sklearn", "__init__.py")
    from sklearn.linear_model import LogisticRegression

    vectors, classes = _heard()
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0)
    fitted = LogisticRegression(max_iter=2000, class_weight="balanced").fit((vectors - mean) / spread, classes)
    weights = (fitted.coef_ / spread).astype(np.float32)
    bias = (fitted.intercept_ - weights @ mean).astype(np.float32)
    onnx.save(_model(weights, bias), path)
    return path


def in_street(said: Floats, decibels: float, random: np.random.Generator) -> Floats:
    """Two seconds of noise, in which something is said somewhere, louder by so many decibels."""
    rumble = np.cumsum(random.standard_normal(hearing.SAMPLES))
    rumble -= np.convolve(rumble, np.full(800, 1 / 800), "same")  # what is below 20 Hz
    noise = rumble / rumble.std() + 0.3 * random.standard_normal(hearing.SAMPLES)
    street = noise / noise.std() * (SPEECH_LEVEL * 10 ** (-decibels / 20))
    start = int(random.integers(max(1, hearing.SAMPLES - said.size)))
    street[start : start + said.size] += said
    return np.asarray(street, np.float32)


def _heard() -> tuple[Floats, NDArray[np.int64]]:
    """The largest of each clip's vectors [clips, 96], and its class [clips]."""
    mel, embed = (load_backend("onnxruntime").compile(zoo.build(name)) for name in ("hear_mel", "hear_embed"))
    random, vectors, classes = np.random.default_rng(SEED), [], []

    def hear(clip: Floats, word: str) -> None:
        made = embed.run({"mel": mel.run({"sound": clip[np.newaxis]})["mel"]})["vectors"]
        vectors.append(made.max(axis=0))
        classes.append(CLASSES.index(word) if word in CLASSES else 0)

    for path in sorted((CLIPS / "train").iterdir()):
        (decoded,) = function("decode_sound").run({}, np.frombuffer(path.read_bytes(), np.uint8))
        said = np.asarray(decoded, np.float32)
        for voice in range(said.size // RATE):
            for decibels in LOUDER:
                hear(in_street(said[voice * RATE : (voice + 1) * RATE], decibels, random), path.stem)
    for _ in range(STREETS):
        hear(in_street(np.zeros(1, np.float32), random.uniform(0, 40), random), "")
    for session in (mel, embed):
        session.close()
    return np.stack(vectors), np.array(classes)


def _model(weights: Floats, bias: Floats) -> onnx.ModelProto:
    info, make = helper.make_tensor_value_info, helper.make_node
    nodes = [
        make("ReduceMax", ["vectors"], ["largest"], "largest", axes=[0], keepdims=1),
        make("Gemm", ["largest", "weights", "bias"], ["logits"], "logits", transB=1),
        make("Softmax", ["logits"], ["chances"], "chances", axis=1),
        make("Slice", ["chances", "begin", "end", "axis"], ["other"], "other"),
        make("Sub", ["one", "other"], ["sure"], "sure"),
        make("Reshape", ["sure", "row"], ["called"], "called"),
    ]
    constants = {
        "weights": weights, "bias": bias, "one": np.float32(1), "row": np.array([1]),
        "begin": np.array([0]), "end": np.array([1]), "axis": np.array([1]),
    }  # fmt: skip
    ends = [info("logits", TensorProto.FLOAT, [1, len(CLASSES)]), info("called", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(
        nodes,
        "keywords",
        [info("vectors", TensorProto.FLOAT, [hearing.WINDOWS, hearing.WIDTH])],
        ends,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
