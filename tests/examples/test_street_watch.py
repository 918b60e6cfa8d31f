"""Signs, sound and watched words made events: how many are right, whole, cut and with a sense missing."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from PIL import Image

from examples.spoken_image_search.stages import Parts, planned
from examples.street_watch.deployed import TOPOLOGY, film, pixels, spec_of
from examples.street_watch.frames import frame
from examples.street_watch.keywords import in_street
from examples.street_watch.pipeline import alphabet, pipeline
from examples.street_watch.situations import KEYWORDS, SITUATIONS
from examples.street_watch.speech import say
from examples.street_watch.stages import BOXES, CODECS, EAR, EYE, TWO_MACHINES, cut
from examples.street_watch.watch import Event, event_of, given, score, watch
from isthmus.zoo import ocr
from isthmus.zoo.packages import file_in
from nodes.backend import Array
from nodes.errors import BadInput
from nodes.functions import Param, function
from nodes.functions.text import held
from orchestrator.blueprint import pose
from orchestrator.model_file import prepare, read_model
from orchestrator.topology_spec import load_topology
from partitioner.check import faults
from partitioner.load import Model
from partitioner.plan import Plan
from partitioner.profile import EngineKey, EngineProfile, Profile
from partitioner.search.answer import answer
from policies.keyframes import KeyFrames
from tests.contracts.backend_models import zoo_model

pytestmark = pytest.mark.slow
PROSE = (
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
)


def model_of(folder: Path, name: str = "whole", *, camera: bool = True, microphone: bool = True) -> Model:
    spec = pipeline(folder, camera=camera, microphone=microphone).spec(folder, topology=TWO_MACHINES)
    (folder / name).mkdir()
    return planned(spec, {entry.name: given("bus")[entry.name] for entry in spec.inputs}, folder / name)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the keyword head lies, once it is trained."""
    for name in ("hear_mel", "hear_speech", "ocr_read"):
        zoo_model(name)
    return tmp_path_factory.mktemp("watch")


@pytest.fixture(scope="module", name="model")
def _model(folder: Path) -> Model:
    return model_of(folder)


@pytest.fixture(scope="module", name="whole")
def _whole(model: Model, folder: Path) -> Iterator[Parts]:
    made = cut(model, folder / "store")
    yield made
    made.close()


@pytest.fixture(scope="module", name="events")
def _events(whole: Parts, model: Model) -> list[Event]:
    return watch(whole.run, model.graph.inputs)


def test_all_but_one_of_words_keywords_and_decisions_are_right(events: list[Event]) -> None:
    counts = score(events)
    assert counts.of == len(SITUATIONS) == 18
    assert (counts.words or 0) >= 17
    assert (counts.keywords or 0) >= 17
    assert counts.decisions >= 17


def test_boards_are_read_line_by_line_and_the_right_way_up(events: list[Event]) -> None:
    read = {event.name: [line for line, sure in event.lines if sure > 0.9] for event in events}
    assert read["barrier"] == ["ROAD CLOSED", "Use other route"]
    assert read["fallen"] == ["ROAD CLOSED"]  # upside down
    assert read["wall"] == []


def test_speech_without_a_keyword_is_heard_as_speech(events: list[Event]) -> None:
    heard = {event.name: (event.called, event.spoken) for event in events}
    assert heard["bakery"][0] < 0.1
    assert heard["bakery"][1] > 0.2
    assert heard["square"][1] == 0  # silence


@pytest.mark.parametrize("codecs", [{}, CODECS])
def test_cuts_change_no_label(model: Model, events: list[Event], tmp_path: Path, codecs: dict[str, str]) -> None:
    made = cut(model, tmp_path, BOXES, codecs)
    again = watch(made.run, model.graph.inputs)
    made.close()
    assert [event.label for event in again] == [event.label for event in events]
    assert set(made.sent) == {EYE, EAR, "speech.share"}  # no frame and no sound
    assert made.sent[EAR] == 18 * 16 * 96 * (2 if codecs else 4)
    assert made.sent[EYE] >= 18 * 4 * 80 * 30 * (1 if codecs else 4)
    assert made.sent[EYE] < 18 * 4 * 80 * 30 * (1.1 if codecs else 4.1)


@pytest.mark.parametrize("missing", ["camera", "microphone"])
def test_with_a_sense_missing_the_other_one_notices_and_never_alarms(
    folder: Path, events: list[Event], missing: str
) -> None:
    model = model_of(folder, missing, camera=missing != "camera", microphone=missing != "microphone")
    made = cut(model, folder / "store")
    found = watch(made.run, model.graph.inputs)
    made.close()
    kept = [event.keyword if missing == "camera" else event.word for event in found]
    assert kept == [event.keyword if missing == "camera" else event.word for event in events]
    assert [event.decision for event in found] == ["notice" if one else "quiet" for one in kept]


def picture(width: int, height: int) -> Array:
    file = BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG")
    return np.frombuffer(file.getvalue(), np.uint8)


def sound(samples: Array) -> Array:
    file = BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV")
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frame": given("bus")["frame"][:20_000]}, "decode_jpeg of 'frame': a damaged JPEG file"),
        ({"frame": np.zeros(0, np.uint8)}, "decode_jpeg of 'frame': 0 bytes that are not a JPEG file"),
        ({"frame": picture(10_000, 10_000)}, "'frame': a picture that exceeds 64,000,000 pixels"),
        ({"frame": picture(8_500, 8_500)}, "'frame': a picture of 8500 × 8500 exceeds 64,000,000 pixels"),
        ({"sound": np.zeros(0, np.uint8)}, "decode_sound of 'sound': 0 bytes that are no sound file"),
        ({"sound": sound(np.zeros(0, np.float32))}, "'sound': a sound file without a sample"),
        ({"sound": sound(np.ones(32_000, np.float32))}, "'sound': clipped sound"),
        ({"sound": sound(np.zeros(61 * 16_000, np.float32))}, r"'sound': 61\.0 s of sound; at most 60 s"),
        ({"watched": held([""])[:0]}, "watched"),
    ],
)  # fmt: skip
def test_a_bad_item_fails_alone_with_its_reason(
    whole: Parts, events: list[Event], change: dict[str, Array], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        whole.run(given("plate") | change)
    (word,) = whole.run(given("plate"))["word"]
    assert word == b"KX51 TRB"


def test_watched_words_that_are_no_text_are_told(whole: Parts) -> None:
    watched = np.empty(1, np.object_)
    watched[0] = b"\xff"
    with pytest.raises(BadInput, match=r"match_words of .*'watched': text that is not UTF-8: byte 0xff at 0"):
        whole.run(given("plate") | {"watched": watched})


def test_a_small_frame_without_text_is_quiet(whole: Parts) -> None:
    made = whole.run(given("square") | {"frame": picture(1, 1)})
    assert (made["word"][0], bool(made["notice"][0])) == (b"", False)


def test_a_plan_runs_the_branches_side_by_side_and_stands(folder: Path) -> None:
    spec = spec_of(folder)
    model = read_model(spec, prepare(spec).path)
    key = EngineKey(node_class="here", backend="onnxruntime")
    seconds = {operator.name: 1e-4 for operator in model.graph.operators} | {"frame.source": 0.0}
    profile = Profile(model=model.sha256, engines={key: EngineProfile(operator_s=seconds)})
    asked = pose(spec, model, profile, {node.name: (key,) for node in load_topology(TOPOLOGY).nodes})
    found = answer(asked, seconds=5)
    assert isinstance(found, Plan)
    assert faults(asked, found) == ()
    assert "frame.source" in next(stage.operators for stage in found.stages if stage.node == "camera")
    sent = {name: (one.source, one.target) for one in found.crossings for name in one.tensors}
    assert sent["frame.item"] == ("microphone", "camera")  # eight bytes: the frame stays where it is until it is read
    assert len({stage.node for stage in found.stages}) > 1


def test_of_a_film_each_situation_gives_one_key_frame_and_it_is_read_as_before(whole: Parts) -> None:
    video = KeyFrames()
    keys = [(name, data) for name, data, at_s in film() if video.is_key(pixels(data), at_s)]
    assert [name for name, _ in keys] == list(SITUATIONS)
    assert (video.seen, video.keys) == (5 * len(SITUATIONS), len(SITUATIONS))
    again = given("barrier") | {"frame": np.frombuffer(frame("barrier", 3), np.uint8)}
    assert not np.array_equal(again["frame"], given("barrier")["frame"])
    assert event_of("barrier", whole.run(again)).label == ("Road closed", "", "notice")


@pytest.mark.parametrize("voice", ["en-gb+m5", "en-us+f4"])
def test_keywords_said_anew_by_other_voices_are_heard(whole: Parts, voice: str) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (Debian, Ubuntu: apt-get install espeak-ng)")
    heard = []
    for word in (*KEYWORDS, "afternoon", "paper"):
        said = in_street(say(word, voice, 160, 45), 15, np.random.default_rng(7))
        heard.append(whole.run(given("wall") | {"sound": sound(said)})["keyword"][0].decode())
    assert sum(one == other for one, other in zip(heard, (*KEYWORDS, "", ""), strict=True)) >= 4


def read(name: str, *arrays: Array, **params: Param) -> tuple[Array, ...]:
    return function(name).run(params, *arrays)


def test_a_printed_page_is_read_line_by_line() -> None:
    """scikit-image's page.png: a real scan, whose lines are longer than those of signs."""
    detect, reader = (
        onnxruntime.InferenceSession(str(one()), providers=["CPUExecutionProvider"]) for one in (ocr.detect, ocr.reader)
    )
    page = np.asarray(Image.open(file_in("skimage", "data/page.png")).convert("RGB"))
    (small,) = read("resize", page, size=[480, 960])
    (planes,) = read("normalise", small, mean=[127.5], scale=[127.5])
    boxes, _ = read("text_boxes", np.asarray(detect.run(None, {"x": planes})[0]))
    (lines,) = read("cut_lines", page, boxes, width=1600)
    told, sure = read("ctc_decode", np.asarray(reader.run(None, {"x": lines})[0]), alphabet=alphabet(), probabilities=1)
    found = {line.decode().replace(" ", ""): float(one) for line, one in zip(told, sure, strict=True)}
    assert all(found[line.replace(" ", "")] > 0.92 for line in PROSE)
