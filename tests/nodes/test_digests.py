"""The digest of a model: of its weights too, read again whenever a file may have changed, and else not."""

import json
import os
from pathlib import Path
from time import time

import pytest

from nodes import digests
from nodes.digests import MOST, WORTH_BYTES, digest_of

LARGE = bytes(WORTH_BYTES)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files written just now have lain still for a minute."""
    monkeypatch.setattr(digests, "time", lambda: time() + 60)


def refers_to(name: str) -> bytes:
    """How an ONNX model says where weights lie."""
    length = len(name.encode())
    varint = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    return b"\x0a\x08location\x12" + varint + name.encode()


def written(folder: Path, content: bytes = LARGE, name: str = "model.onnx") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def forged(notes: Path) -> str:
    """Put another digest into every note, which only who believes the note will tell."""
    known = json.loads(notes.read_text())
    notes.write_text(json.dumps({path: note | {"digest": "f" * 64} for path, note in known.items()}))
    return "f" * 64


@pytest.mark.usefixtures("later")
def test_a_model_that_lay_still_is_not_read_again(tmp_path: Path) -> None:
    model, notes = written(tmp_path), tmp_path / "notes"
    digest_of(model, notes)
    told = forged(notes)
    assert digest_of(model, notes) == told


def test_a_model_written_a_moment_ago_is_not_noted(tmp_path: Path) -> None:
    digest_of(written(tmp_path), tmp_path / "notes")
    assert not (tmp_path / "notes").exists()


@pytest.mark.usefixtures("later")
def test_a_model_changed_behind_its_old_times_is_read_again(tmp_path: Path) -> None:
    model, notes = written(tmp_path), tmp_path / "notes"
    before, stat = digest_of(model, notes), model.stat()
    model.write_bytes(LARGE[1:] + b"1")
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest_of(model, notes) != before


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("name", ["weights.bin", "w" * 200])
@pytest.mark.parametrize("before", [0, (1 << 20) - 7, (1 << 20) - 20])
def test_weights_that_a_model_names_are_part_of_it(tmp_path: Path, name: str, before: int) -> None:
    model, notes = written(tmp_path, bytes(before) + refers_to(name) + LARGE), tmp_path / "notes"
    absent = digest_of(model, notes)
    weights = written(tmp_path, b"light", name)
    found = digest_of(model, notes)
    weights.write_bytes(b"heavy")
    assert len({absent, found, digest_of(model, notes)}) == 3


def test_a_file_that_only_bears_a_like_name_is_no_part_of_a_model(tmp_path: Path) -> None:
    model = written(tmp_path)
    alone = digest_of(model, tmp_path / "notes")
    written(tmp_path, b"another model", "model_small.onnx")
    assert digest_of(model, tmp_path / "notes") == alone


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("spoilt", ["", "[]", '{"%s": 3}', '{"%s": {"digest": "f", "files": {}}}', '{"%s": {}}'])
def test_a_spoilt_note_is_written_anew(tmp_path: Path, spoilt: str) -> None:
    model, notes = written(tmp_path), tmp_path / "notes"
    digest = digest_of(model, tmp_path / "elsewhere")
    notes.write_text(spoilt.replace("%s", str(model)))
    assert digest_of(model, notes) == digest == json.loads(notes.read_text())[str(model)]["digest"]


@pytest.mark.usefixtures("later")
def test_notes_that_cannot_be_written_stop_nothing(tmp_path: Path) -> None:
    model = written(tmp_path)
    assert digest_of(model, model / "notes") == digest_of(model, tmp_path / "notes")


@pytest.mark.usefixtures("later")
def test_the_models_noted_are_bounded(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text(json.dumps({f"/{number}": {} for number in range(MOST + 5)}))
    digest_of(written(tmp_path), notes)
    known = list(json.loads(notes.read_text()))
    assert len(known) == MOST and known[0] == "/6" and known[-1] == str(tmp_path / "model.onnx")
