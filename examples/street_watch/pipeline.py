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

import onnx

from examples.street_watch.keywords import CLASSES, head
from isthmus import zoo
from isthmus.zoo import hearing, ocr
from nodes.functions.sound import RATE
from nodes.joining.steps import FunctionCall, ModelCall, Pipeline, Source, Step

MOST = 4  # lines of text in a frame
DETECTED = (480, 640)  # height and width of what the detector sees
SEEN = "seen > 0"
CALLED = "called > 0.5 and spoken > 0.05"  # speech at all: the head alone knows no other sounds than a street's
_GREY = {"mean": [127.5], "scale": [127.5]}


def pipeline(folder: Path, *, camera: bool = True, microphone: bool = True) -> Pipeline:
    """The watch, from uint8 `frame` (a JPEG file), uint8 `sound` (an Ogg, FLAC or WAV file) and string `watched` [1].

    The keyword head is trained, and written to `folder`, unless it lies there.
    """
    sources = {"frame": Source(name="frame", dtype="uint8", shape=(None,)), "sound": _SOUND, "watched": _WATCHED}
    lacks = {"frame": not camera, "watched": not camera, "sound": not microphone}
    steps, outputs, values, signs = [], {}, {}, []
    if camera:
        steps += _see()
        outputs |= {"word": "match.word", "seen": "match.likeness"}
        outputs |= {"lines": "read.lines", "sure": "read.sure", "scores": "boxes.scores"}
        values["seen"] = "match.likeness"
        signs.append(SEEN)
    if microphone:
        steps += _hear(folder)
        outputs |= {"keyword": "keyword.labels", "chance": "keyword.shares"}
        outputs |= {"called": "head.called", "spoken": "speech.share"}
        values |= {"called": "head.called", "spoken": "speech.share"}
        signs.append(CALLED)
    alone = len(signs) == 1
    steps += [
        _rule("notice", values, " or ".join(f"({sign})" for sign in signs)),
        _rule("alarm", values, f"({signs[0]}) and 0" if alone else " and ".join(f"({sign})" for sign in signs)),
    ]
    return Pipeline(
        name="street_watch",
        sources=tuple(source for name, source in sources.items() if not lacks[name]),
        steps=tuple(steps),
        outputs={**outputs, "notice": "notice.holds", "alarm": "alarm.holds"},
    )


_SOUND = Source(name="sound", dtype="uint8", shape=(None,))
_WATCHED = Source(name="watched", dtype="string", shape=(1,))


def _see() -> list[Step]:
    """`frame` and `watched` → `boxes`, `read`, `match`."""
    letters = {"alphabet": alphabet(), "probabilities": 1}
    return [
        FunctionCall(name="picture", function="decode_jpeg", wires=("frame",)),
        FunctionCall(name="small", function="resize", wires=("picture",), params={"size": list(DETECTED)}),
        FunctionCall(name="pixels", function="normalise", wires=("small",), params=_GREY),
        ModelCall(name="detect", model=ocr.detect(), inputs={"x": "pixels"}),
        FunctionCall(name="boxes", function="text_boxes", wires=("detect",), params={"most": MOST}),
        *_line("stretch", "boxes.boxes", ocr.ORIENT_SHAPE[3]),
        ModelCall(name="orient", model=ocr.orient(), inputs={"x": "stretch"}),
        FunctionCall(name="upright", function="turn_boxes", wires=("boxes.boxes", "orient")),
        *_line("line", "upright", ocr.READ_SHAPE[3]),
        ModelCall(name="letters", model=ocr.reader(), inputs={"x": "line"}),
        FunctionCall(name="read", function="ctc_decode", wires=("letters",), params=letters),
        FunctionCall(name="match", function="match_words", wires=("read.lines", "read.sure", "watched")),
    ]


def _line(name: str, boxes: str, width: int) -> list[Step]:
    return [FunctionCall(name=name, function="cut_lines", wires=("picture", boxes), params={"width": width})]


def _hear(folder: Path) -> list[Step]:
    """`sound` → `keyword`, `head`, `speech`."""
    path = folder / "keywords.onnx"
    trained = path if path.is_file() else head(path)
    names = {"labels": list(CLASSES), "k": 1}
    return [
        FunctionCall(name="samples", function="decode_sound", wires=("sound",), params={"rate": RATE}),
        FunctionCall(name="clip", function="clip_sound", wires=("samples",), params={"samples": hearing.SAMPLES}),
        ModelCall(name="speech", model=zoo.build("hear_speech"), inputs={"sound": "clip"}),
        ModelCall(name="mel", model=zoo.build("hear_mel"), inputs={"sound": "clip"}),
        ModelCall(name="embed", model=zoo.build("hear_embed"), inputs={"mel": "mel"}),
        ModelCall(name="head", model=trained, inputs={"vectors": "embed"}),
        FunctionCall(name="keyword", function="top_k", wires=("head.logits",), params=names),
    ]


def _rule(name: str, values: Mapping[str, str], when: str) -> Step:
    params = {"names": list(values), "when": when}
    return FunctionCall(name=name, function="rule", wires=tuple(values.values()), params=params)


def alphabet() -> list[str]:
    """What the reader's places stand for: the blank, its characters, and a space (as PaddleOCR adds it)."""
    props = {entry.key: entry.value for entry in onnx.load(ocr.reader()).metadata_props}
    return ["", *props["character"].splitlines(), " "]
