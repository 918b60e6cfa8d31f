"""The watch as one graph: a camera's frame, two seconds of its microphone and a list of watched words, to an event.

    frame: JPEG → detector → boxes → lines → which way up → turned boxes → lines → reader → text ┐
    watched: words, one a line ──────────────────────────────────────────────────────────────────┴→ word ┐
    sound: Ogg → two seconds ┬→ mel spectrogram → vectors → keyword head → how likely a keyword is ──────┼→ event
                             └→ Silero VAD → share of speech ────────────────────────────────────────────┘

An event is `notice`, one sign of trouble, and `alarm`, both. Without a camera or a microphone the graph lacks that
branch, and its rules speak of what is left: one sense notices, and never alarms.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from examples.street_watch.keywords import CLASSES, head
from isthmus import Pipeline, zoo
from isthmus.zoo import hearing, ocr
from nodes.functions.sound import RATE
from orchestrator.pipeline_builder import Wire

NAME = "street_watch"
CAMERA, MICROPHONE = "camera", "microphone"  # nodes; watched words are kept at the microphone's
MOST = 4  # lines of text in a frame
DETECTED = (480, 640)  # height and width of what the detector sees
SEEN = "seen > 0"
CALLED = "called > 0.5 and spoken > 0.05"  # speech at all: the head alone knows no other sounds than a street's
_GREY: dict[str, Any] = {"mean": [127.5], "scale": [127.5]}


def pipeline(
    folder: Path, *, camera: bool = True, microphone: bool = True, samples: Mapping[str, str] | None = None
) -> Pipeline:
    """The watch, from uint8 `frame` (a JPEG file), uint8 `sound` (an Ogg, FLAC or WAV file) and string `watched` [1].

    The keyword head is trained, and written to `folder`, unless it lies there; there, too, lie `samples`, each input's
    file, to measure with.
    """
    made = Pipeline(NAME)
    more: dict[str, Any] = {name: {"samples": file} for name, file in (samples or {}).items()}
    values: dict[str, Wire] = {}
    signs = []
    if microphone:
        sound = made.source("sound", at=MICROPHONE, dtype="uint8", **more.get("sound", {}))
        values |= _hear(made, sound, folder)
        signs.append(CALLED)
    if camera:
        watched = made.source("watched", at=MICROPHONE, dtype="string", shape=[1], **more.get("watched", {}))
        frame = made.source("frame", at=CAMERA, dtype="uint8", **more.get("frame", {}))
        values["seen"] = _see(made, frame, watched)
        signs.append(SEEN)
    alone = "0" if len(signs) == 1 else "1"
    for name, when in (("notice", " or ".join(signs)), ("alarm", " and ".join([*signs, alone]))):
        rule = made.function(f"{name}_rule", "rule", *values.values(), names=list(values), when=when)
        made.output(name, rule)
    return made


def _see(made: Pipeline, frame: Wire, watched: Wire) -> Wire:
    """How like a watched word something in the frame is; what was read becomes outputs."""
    picture = made.function("picture", "decode_jpeg", frame)
    small = made.function("small", "resize", picture, size=list(DETECTED))
    pixels = made.function("pixels", "normalise", small, **_GREY)
    boxes = made.function("boxes", "text_boxes", made.model("detect", ocr.detect(), pixels), most=MOST)
    stretch = made.function("stretch", "cut_lines", picture, boxes["boxes"], width=ocr.ORIENT_SHAPE[3])
    orient = made.model("orient", ocr.orient(), stretch)
    upright = made.function("upright", "turn_boxes", boxes["boxes"], orient)
    line = made.function("line", "cut_lines", picture, upright, width=ocr.READ_SHAPE[3])
    letters = made.model("letters", ocr.reader(), line)
    read = made.function("read", "ctc_decode", letters, alphabet=alphabet(), probabilities=1)
    match = made.function("match", "match_words", read["lines"], read["sure"], watched)
    told = {"lines": read["lines"], "sure": read["sure"], "scores": boxes["scores"], "word": match["word"]}
    for name, wire in told.items():
        made.output(name, wire)
    return match["likeness"]


def _hear(made: Pipeline, sound: Wire, folder: Path) -> dict[str, Wire]:
    """How likely a keyword was said, and which part of the sound is speech, both outputs, too."""
    path = folder / "keywords.onnx"
    trained = path if path.is_file() else head(path)
    samples = made.function("samples", "decode_sound", sound, rate=RATE)
    clip = made.function("clip", "clip_sound", samples, samples=hearing.SAMPLES)
    speech = made.model("speech", zoo.build("hear_speech"), clip)
    mel = made.model("mel", zoo.build("hear_mel"), clip)
    said = made.model("head", trained, made.model("embed", zoo.build("hear_embed"), mel))
    keyword = made.function("keyword_of", "top_k", said["logits"], labels=list(CLASSES), k=1)
    found = {"called": said["called"], "spoken": speech["share"]}
    for name, wire in ({"keyword": keyword["labels"], "chance": keyword["shares"]} | found).items():
        made.output(name, wire)
    return found


def alphabet() -> list[str]:
    """What the reader's places stand for: the blank, its characters, and a space (as PaddleOCR adds it)."""
    props = {entry.key: entry.value for entry in onnx.load(ocr.reader()).metadata_props}
    return ["", *props["character"].splitlines(), " "]
