"""The search as one graph: what is asked, spoken or typed, and a photograph, to how well they go together.

    spoken: sound → Whisper's encoder → its decoder, a loop → text ┐
    typed:                                                   query ┴→ MiniLM ┐
    photo: JPEG → EfficientNet-Lite0 → its five likeliest labels → MiniLM    ┴→ score

One item is one question and one photograph. Beside its `score` it gives both embeddings, so that a question is compared
with a whole album without being heard again for each photograph.
"""

from pathlib import Path

import onnx

from isthmus import zoo
from isthmus.zoo import efficientnet, listening, minilm, whisper
from isthmus.zoo.photos import labels
from nodes.functions.sound import RATE
from nodes.joining.steps import FunctionCall, Fusion, Loop, ModelCall, Pipeline, Source, Step

LABELS = 5  # of a photograph, each counted by how likely it is
MOST = whisper.CAPACITY - 1  # tokens of an answer: the decoder keeps the first of the two that start it, and these


def pipeline(folder: Path, *, spoken: bool) -> Pipeline:
    """The search by voice, from uint8 `sound` (a WAV, FLAC or Ogg file), or by hand, from string `query` [1].

    Models that the zoo does not keep as they are needed here are written to `folder`.
    """
    encoder = folder / "minilm.onnx"
    if not encoder.is_file():
        onnx.save(minilm.network(), encoder)  # for any number of texts at once
    asked = Source(name="sound", dtype="uint8", shape=(None,)) if spoken else _QUERY
    text, branch = ("text", _hear()) if spoken else ("query", ())
    steps = (
        *branch,
        *_read("wanted", encoder, text),
        *_see(),
        *_read("told", encoder, "labels.labels"),
        Fusion(name="seen", fusion="pooled", wires=("told", "labels.shares")),
        Fusion(name="match", fusion="cosine", wires=("wanted", "seen")),
    )
    outputs = {"score": "match", "wanted_embedding": "wanted", "seen_embedding": "seen", "seen_labels": "labels.labels"}
    if spoken:
        outputs["heard"] = "text"
    return Pipeline(
        name="spoken_image_search" if spoken else "typed_image_search",
        sources=(asked, Source(name="photo", dtype="uint8", shape=(None,))),
        steps=steps,
        outputs=outputs,
    )


_QUERY = Source(name="query", dtype="string", shape=(1,))


def _hear() -> tuple[Step, ...]:
    """`sound` → `text`."""
    never, never_first = listening.never_said()
    return (
        FunctionCall(name="samples", function="decode_sound", wires=("sound",), params={"rate": RATE}),
        FunctionCall(name="mel", function="log_mel", wires=("samples",)),
        ModelCall(name="hear", model=zoo.build("whisper_encoder"), inputs={"mel": "mel"}),
        Loop(
            name="say",
            model=zoo.build("whisper_decoder"),
            inputs={name: f"hear.{name}" for name in whisper.CROSS_SHAPES},
            state=whisper.STATE,
            prefix=(listening.START, listening.PLAIN),
            end=listening.END,
            most=MOST,
            never=tuple(never),
            never_first=tuple(never_first),
        ),
        FunctionCall(name="text", function="detokenise", wires=("say",), params={"tokenizer": listening.tokenizer()}),
    )


def _see() -> tuple[Step, ...]:
    """`photo` → `labels`."""
    side = [efficientnet.SIDE, efficientnet.SIDE]
    scale = {"mean": [efficientnet.MEAN], "scale": [efficientnet.SCALE]}
    names = {"labels": labels(), "k": LABELS}
    return (
        FunctionCall(name="picture", function="decode_jpeg", wires=("photo",)),
        FunctionCall(
            name="frame", function="resize", wires=("picture",), params={"size": side, "crop": efficientnet.CROP}
        ),
        FunctionCall(name="pixels", function="normalise", wires=("frame",), params=scale),
        ModelCall(name="look", model=zoo.build("efficientnet_lite0"), inputs={"input": "pixels"}),
        FunctionCall(name="labels", function="top_k", wires=("look",), params=names),
    )


def _read(name: str, model: Path, text: str) -> tuple[Step, ...]:
    """Text → `name`, its embedding."""
    params = {"tokenizer": minilm.tokenizer(), "length": minilm.LENGTH}
    tokens = f"{name}_tokens"
    inputs = {"ids": f"{tokens}.ids", "mask": f"{tokens}.mask"}
    return (
        FunctionCall(name=tokens, function="tokenise", wires=(text,), params=params),
        ModelCall(name=name, model=model, inputs=inputs),
    )
