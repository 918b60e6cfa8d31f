"""Profiles as files: written and read they are equal, and what is none is refused."""

from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.profile_file import load_profile, save_profile
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure, segment_key

KEY = EngineKey(node_class="here", backend="onnxruntime", precision="float32", threads=2)


def full() -> Profile:
    engine = EngineProfile(operator_s={"a": 1e-3, "b": 2e-3}, call_s=1e-5, segment_s={segment_key(("a", "b")): 2.9e-3})
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
