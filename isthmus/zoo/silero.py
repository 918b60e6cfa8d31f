"""Silero VAD (MIT), which tells whether someone speaks, as silero-vad ships it, in ONNX already.

It hears 32 ms at a time and keeps a state: each `…_next` output is the input of that name for the next chunk (STATE).
The file is the package's sequence form, whose chunks are as many as one likes: here it is one. Most of its other files
keep what they do in the bodies of Ifs. listening.py runs it.
"""

from collections.abc import Mapping

import onnx

from isthmus.zoo.packages import file_in

PACKAGE = "silero_vad"
CHUNK, CONTEXT = 512, 64  # samples that are new, and the last of the chunk before
SHAPE = (1, CONTEXT + CHUNK)
STATE_SHAPE = (1, 1, 128)
STATE: Mapping[str, str] = {"h_next": "h", "c_next": "c"}  # output → the next chunk's input

_NAMES = {"input": "chunk", "speech_probs": "speech", "hn": "h_next", "cn": "c_next"}


def network() -> onnx.ModelProto:
    """float32 `chunk` [n, 576], `h`, `c` [1, 1, 128] → float32 `speech` [n], probabilities, `h_next`, `c_next`.

    Each row of `chunk` hears the state that the row before left.
    """
    model = onnx.load(file_in(PACKAGE, "data/silero_vad_16k_sequence.onnx"))
    for entry in (*model.graph.input, *model.graph.output):
        entry.name = _NAMES.get(entry.name, entry.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [_NAMES.get(name, name) for name in names]
    return model
