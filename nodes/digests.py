"""The SHA-256 of ONNX models, their weights included, noted on disk for as long as the files stay as they are.

Reading a model to hash it takes longer than starting it from the cache. A file counts as unchanged while its size,
inode and both times are as they were. It is noted only once it has lain still for a while: two writes within one tick
of a file system's clock look the same. This reads no protobuf: where weights lie is found by how it is written there.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

STILL_S = 2.0  # the coarsest clock of a file system in use
WORTH_BYTES = 1 << 20  # what is smaller is hashed within a millisecond
MOST = 128  # models noted; the longest unchanged leave first
_PIECE_BYTES, _OVERLAP_BYTES = 1 << 20, 8 << 10
_LOCATION = b"\x0a\x08location\x12"  # of ONNX's external_data: the key (field 1), and before the value (field 2)


def digest_of(model: Path, notes: Path) -> str:
    """64 hexadecimal digits: of the file, or of it and the files of weights that it names. OSError if it is absent.

    `notes` is the file that remembers; where it can't be written, models are hashed each time.
    """
    label = str(model.absolute())
    known = _read(notes)
    if _unchanged(model.parent, noted := known.pop(label, None)):
        return str(noted["digest"])
    stamps = {model.name: _stamp(model)}
    digest, names = _hashed(model)
    there = [name for name in names if (model.parent / name).is_file()]  # of the others compiling tells
    for name in there:
        stamps[name] = _stamp(model.parent / name)
        digest = sha256(f"{digest}{_hashed(model.parent / name)[0]}".encode()).hexdigest()
    if there == names and _worth_noting(stamps):
        _write(notes, {**dict(list(known.items())[1 - MOST :]), label: {"digest": digest, "files": stamps}})
    return digest


def _unchanged(folder: Path, noted: Any) -> bool:
    try:
        return bool(noted["digest"] and noted["files"]) and all(
            _stamp(folder / name) == was for name, was in noted["files"].items()
        )
    except (OSError, TypeError, KeyError, AttributeError):  # a file is gone, or the note is no note
        return False


def _worth_noting(stamps: dict[str, list[int]]) -> bool:
    still_since_s = max(max(changed_ns, written_ns) for _, _, written_ns, changed_ns in stamps.values()) * 1e-9
    return time() - still_since_s >= STILL_S and sum(nbytes for nbytes, *_ in stamps.values()) >= WORTH_BYTES


def _hashed(path: Path) -> tuple[str, list[str]]:
    """A file's SHA-256, and the names of files that it refers to as an ONNX model does."""
    names: set[str] = set()
    found, before = sha256(), b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
            names.update(_locations(before + piece))
            before = piece[-_OVERLAP_BYTES:]
    return found.hexdigest(), sorted(names)


def _locations(text: bytes) -> Iterator[str]:
    """The values behind each key that stand whole in the text; a length below 128 is one byte, else two."""
    at = text.find(_LOCATION)
    while at >= 0:
        at += len(_LOCATION)
        first, second = (*text[at : at + 2], 0, 0)[:2]
        length, begin = (first & 0x7F | second << 7, at + 2) if first > 0x7F else (first, at + 1)
        with suppress(UnicodeDecodeError):
            if (name := text[begin : begin + length].decode()) and "\0" not in name and begin + length <= len(text):
                yield name
        at = text.find(_LOCATION, at)


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _read(notes: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(notes.read_text())
        if isinstance(found, dict):
            return found
    return {}


def _write(notes: Path, known: dict[str, Any]) -> None:
    """All or nothing. Of two processes at once the later wins, and the other's model is hashed once more."""
    with suppress(OSError):
        notes.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(prefix=".digests-", dir=notes.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(known, file)
        os.replace(new, notes)
