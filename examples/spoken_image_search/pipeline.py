"""The search as one graph: what is asked, spoken or typed, and a photograph, to how well they go together.

    spoken: sound → Whisper's encoder → its decoder, a loop → text ┐
    typed:                                                   query ┴→ MiniLM ┐
    photo: JPEG → EfficientNet-Lite0 → its five likeliest labels → MiniLM    ┴→ score

One item is one question and one photograph. Beside its `score` it gives both embeddings, so that a question is compared
with a whole album without being heard again for each photograph.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx

from isthmus import Pipeline, zoo
from isthmus.zoo import efficientnet, listening, minilm
from isthmus.zoo.photos import labels
from nodes.functions.sound import RATE
from orchestrator.pipeline_builder import Wire

LABELS = 5  # of a photograph, each counted by how likely it is


def pipeline(
    folder: Path, *, spoken: bool, samples: Mapping[str, str] | None = None, photo_at: str = "phone"
) -> Pipeline:
    """The search by voice, from uint8 `sound` (a WAV, FLAC or Ogg file), or by hand, from string `query` [1].

    Models that the zoo does not keep as they are needed here are written to `folder`, where also `samples` lie: each
    input's file, to measure with. The question arises at the node `phone`, the photograph is at `photo_at`.
    """
    made = Pipeline("spoken_image_search" if spoken else "typed_image_search")
    more = {name: {"samples": file} for name, file in (samples or {}).items()}
    if spoken:
        sound = made.source("sound", at="phone", dtype="uint8", **more.get("sound", {}))
        text = _hear(made, sound)
    else:
        text = made.source("query", at="phone", dtype="string", shape=[1], **more.get("query", {}))
    photo = made.source("photo", at=photo_at, dtype="uint8", **more.get("photo", {}))
    encoder = _encoder(folder)
    wanted = _read(made, "wanted", encoder, text)
    seen_labels = _see(made, photo)
    told = _read(made, "told", encoder, seen_labels["labels"])
    seen = made.fusion("seen", "pooled", told, seen_labels["shares"])
    made.output("score", made.fusion("match", "cosine", wanted, seen))
    made.output("wanted_embedding", wanted)
    made.output("seen_embedding", seen)
    made.output("seen_labels", seen_labels["labels"])
    if spoken:
        made.output("heard", text)
    return made


def _encoder(folder: Path) -> Path:
    """MiniLM for any number of texts at once."""
    path = folder / "minilm.onnx"
    if not path.is_file():
        onnx.save(minilm.network(), path)
    return path


def _hear(made: Pipeline, sound: Wire) -> Wire:
    """`sound` → `text`."""
    samples = made.function("samples", "decode_sound", sound, rate=RATE)
    mel = made.function("mel", "log_mel", samples)
    hear = made.model("hear", zoo.build("whisper_encoder"), mel)
    say = made.loop("say", zoo.build("whisper_decoder"), hear, **listening.loop_terms())
    return made.function("text", "detokenise", say, tokenizer=listening.tokenizer())


def _see(made: Pipeline, photo: Wire) -> Wire:
    """`photo` → `labels`."""
    side = [efficientnet.SIDE, efficientnet.SIDE]
    picture = made.function("picture", "decode_jpeg", photo)
    frame = made.function("frame", "resize", picture, size=side, crop=efficientnet.CROP)
    pixels = made.function("pixels", "normalise", frame, mean=[efficientnet.MEAN], scale=[efficientnet.SCALE])
    look = made.model("look", zoo.build("efficientnet_lite0"), pixels)
    return made.function("labels", "top_k", look, labels=labels(), k=LABELS)


def _read(made: Pipeline, name: str, encoder: Path, text: Wire) -> Wire:
    """Text → `name`, its embedding."""
    tokens = made.function(f"{name}_tokens", "tokenise", text, tokenizer=minilm.tokenizer(), length=minilm.LENGTH)
    return made.model(name, encoder, tokens)
