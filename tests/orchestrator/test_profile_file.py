"""Profiles as files: written and read they are equal, and what is none is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.profile_file import load_profile, profile_to_json, save_profile
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure, segment_key

KEY = EngineKey(node_class="here", backend="onnxruntime", precision="float32", threads=2)


def full() -> Profile:
    segments = {segment_key(names): names for names in (("a", "b", "d"), ("c",), ("a", "b", "c", "d"))}
    engine = EngineProfile(
        operator_s={"a": 1e-3, "b": 2e-3, "c": 0.0, "d": 1e-4},
        call_s=1e-5,
        segment_s={key: 2.9e-3 for key in segments},
        segments=segments,
        first_s={"a": 2e-3, "b": 2e-3, "c": 0.0, "d": 1e-4},
        batch_s={1: 2.9e-3, 8: 1.1e-2},
    )
    return Profile(
        model="m" * 64,
        engines={KEY: engine},
        message_s=1e-4,
        message_s_per_byte=1e-9,
        codecs={"fp16": CodecFigure(encode_s_per_byte=1e-9, decode_s_per_byte=2e-9)},
        tensors={"x": {"fp16": TensorFigure(ratio=0.5, error=1e-3)}},
    )


def test_a_profile_read_back_is_the_one_written(tmp_path: Path) -> None:
    save_profile(full(), tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == full()


def test_a_file_of_format_1_is_read_without_what_it_lacks(tmp_path: Path) -> None:
    plain = profile_to_json(full()) | {"format": "isthmus profile 1"}
    for entry in plain["engines"]:
        del entry["segments"], entry["first_s"], entry["batch_s"]
    (tmp_path / "old.json").write_text(json.dumps(plain))
    engine = replace(full().engines[KEY], segments={}, first_s={}, batch_s={})
    assert load_profile(tmp_path / "old.json") == replace(full(), engines={KEY: engine})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("operator_s", {"a": "fast"}, "ValueError: a takes 'fast', which is no number of seconds"),
        ("operator_s", {"a": -1.0}, "a takes -1.0"),
        ("call_s", float("nan"), "call_s takes nan"),
        ("segments", {"beef": [[0, 1]]}, "segment beef does not hold the operators that its key names"),
        ("segments", [], "no profile: AttributeError"),
    ],
)
def test_a_profile_with_a_wrong_value_is_refused_in_one_line(
    tmp_path: Path, key: str, value: object, told: str
) -> None:
    plain = profile_to_json(full())
    plain["engines"][0][key] = value
    (tmp_path / "p.json").write_text(json.dumps(plain))
    with pytest.raises(SpecError, match=told) as caught:
        load_profile(tmp_path / "p.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"format": "isthmus profile 1"}', '{"format": "other"}'])
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(SpecError, match=r"p\.json is no profile"):
        load_profile(tmp_path / "p.json")


def test_a_file_that_is_not_there_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*absent\.json: No such file"):
        load_profile(tmp_path / "absent.json")
    with pytest.raises(SpecError, match="cannot write"):
        save_profile(full(), tmp_path / "absent" / "p.json")
