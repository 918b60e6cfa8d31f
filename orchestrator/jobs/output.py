"""What a job leaves: one file (.npz, .jsonl, .parquet) or a folder, made beside its place and moved there whole.

It is never seen half written, never put over something that is there, and put there once however often a driver dies
meanwhile, and whatever became of it since: the ledger knows the inode that is ours, and what was made beside its place
is there until it is moved. So once an inode is known and nothing is there, it was.
"""

import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np

from orchestrator.jobs.errors import JobError
from orchestrator.jobs.ledger import Ledger
from orchestrator.jobs.packing import unpacked

RESERVED = ("item", "failed", "reason")
ROWS = 1000  # of a parquet file that are held at once
OURS = "output inode"
AT_FDCWD, RENAME_NOREPLACE = -100, 1  # of Linux


def check_output(path: Path) -> None:
    """JobError where a job cannot put its output: something is there, its folder is not, or may not be written."""
    if path.exists() or path.is_symlink():
        raise JobError(f"{path} exists; give another output, or remove it")
    if path.suffix and path.suffix.lower() not in WRITERS:
        raise JobError(f"{path}: no writer for {path.suffix!r} files; give a folder, or a {', '.join(KINDS)} file")
    if path.suffix.lower() == ".parquet":
        _pyarrow(path)
    if not path.parent.is_dir():
        raise JobError(f"{path}: no folder {path.parent}; make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise JobError(f"{path} cannot be written: {error.strerror}") from None


def publish(ledger: Ledger, path: Path, job: str) -> None:
    """Put the ledger's answers and failures at `path`; nothing if that is done. JobError where it can't be."""
    part = _part(path, job)
    if is_published(ledger, path, job):
        if _is_ours(ledger, part):
            _remove(part)  # its other name, where the driver before died in between
        return
    if os.path.lexists(path):
        raise JobError(f"{path} exists, and is not of this job; its answers are kept in {ledger.folder}")
    try:
        if not ledger.fact(OURS):
            _remove(part)
            WRITERS[path.suffix.lower()](ledger, part)
            _to_disk(part)
            _to_disk(part.parent)
            ledger.note(OURS, _inode(part))
        _move(part, path)
        _to_disk(path.parent)
    except OSError as error:
        discard(ledger, path, job)
        raise JobError(f"{path} cannot be written: {error.strerror or error}") from None


def is_published(ledger: Ledger, path: Path, job: str) -> bool:
    """Whether the output was put at `path`: it is there, or somebody has moved it away since."""
    part = _part(path, job)
    if not ledger.fact(OURS):
        return False
    if not _is_ours(ledger, part):  # nothing, or somebody else's under that name: ours was moved
        return True
    return part.is_file() and part.stat().st_nlink > 1  # put there under a second name, its first one is left


def discard(ledger: Ledger, path: Path, job: str) -> None:
    """Remove what was made of an output that is not to be."""
    part = _part(path, job)
    if ledger.fact(OURS):  # else there is nothing to note, and a full disk takes no note
        is_ours = _is_ours(ledger, part)
        ledger.note(OURS, "")  # first: a part that is gone while its inode is known counts as put at its place
        if not is_ours:
            return
    _remove(part)


def _part(path: Path, job: str) -> Path:
    return path.with_name(f".{path.name}.{job}.part")


def _npz(ledger: Ledger, part: Path) -> None:
    """`item`: ids; an array an output, a row an item; `failed` and `reason`. Outputs whose shapes differ from item to
    item have an entry each instead, OUTPUT/ITEM.
    """
    forms: dict[str, set[tuple[str, tuple[int, ...]]]] = {}
    ids = []
    for _, item, data in ledger.answers():
        ids.append(item)
        for name, array in unpacked(data).items():
            forms.setdefault(name, set()).add((array.dtype.str, array.shape))
    failures = ledger.failures()
    with ZipFile(part, "w") as archive:
        told = {"item": ids, "failed": [item for item, _ in failures], "reason": [why for _, why in failures]}
        for key, texts in told.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.array(texts, str), allow_pickle=False)
        for name, found in forms.items():
            _npz_output(ledger, archive, name, found, len(ids))


def _npz_output(
    ledger: Ledger, archive: ZipFile, name: str, forms: set[tuple[str, tuple[int, ...]]], count: int
) -> None:
    key = f"output.{name}" if name in RESERVED else name
    if len(forms) > 1:
        for _, item, data in ledger.answers():
            with archive.open(f"{key}/{item}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, unpacked(data)[name], allow_pickle=False)
        return
    ((dtype, shape),) = forms
    with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_2_0(file, header)
        for *_, data in ledger.answers():
            file.write(unpacked(data)[name].tobytes())


def _jsonl(ledger: Ledger, part: Path) -> None:
    """A line an item: `{"item", "outputs"}`; then a line a failure: `{"item", "error"}`."""
    with part.open("w", encoding="utf-8") as file:
        for _, item, data in ledger.answers():
            outputs = {name: array.tolist() for name, array in unpacked(data).items()}
            file.write(json.dumps({"item": item, "outputs": outputs}) + "\n")
        _write_failures(ledger, file)


def _write_failures(ledger: Ledger, file: TextIOWrapper) -> None:
    for item, reason in ledger.failures():
        file.write(json.dumps({"item": item, "error": reason}) + "\n")


def _parquet(ledger: Ledger, part: Path) -> None:
    """A row an item: `item`, `error`, and for each output its values in a row, with its shape in OUTPUT.shape."""
    arrow = _pyarrow(part)
    from pyarrow.parquet import ParquetWriter

    first = next((unpacked(data) for *_, data in ledger.answers()), {})
    fields = [("item", arrow.string()), ("error", arrow.string())]
    for name, array in first.items():
        key = f"output.{name}" if name in (*RESERVED, "error") else name
        fields += [
            (key, arrow.list_(arrow.from_numpy_dtype(array.dtype))),
            (f"{key}.shape", arrow.list_(arrow.int64())),
        ]
    schema = arrow.schema(fields)
    with ParquetWriter(part, schema) as writer:
        rows: list[tuple[Any, ...]] = []

        def flush() -> None:
            columns = [
                arrow.array(list(column), kind)
                for column, (_, kind) in zip(zip(*rows, strict=True), fields, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            rows.clear()

        for _, item, data in ledger.answers():
            held = unpacked(data)
            rows.append((item, None, *(each for name in first for each in (held[name].ravel(), held[name].shape))))
            if len(rows) == ROWS:
                flush()
        for item, reason in ledger.failures():
            rows.append((item, reason, *(None,) * (2 * len(first))))
        if rows:
            flush()


def _folder(ledger: Ledger, part: Path) -> None:
    """ITEM.npz for each that was answered, and failed.jsonl."""
    part.mkdir()
    for _, item, data in ledger.answers():
        file = part / f"{item}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, allow_pickle=False, **unpacked(data))
        _to_disk(file)
    with (part / "failed.jsonl").open("w", encoding="utf-8") as listed:
        _write_failures(ledger, listed)
    _to_disk(part / "failed.jsonl")


WRITERS: dict[str, Callable[[Ledger, Path], None]] = {
    ".npz": _npz,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
    "": _folder,
}
KINDS = tuple(suffix for suffix in WRITERS if suffix)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise JobError(f"writing {path} needs pyarrow; install it with: pip install 'isthmus[jobs]'") from None
    return pyarrow


def _move(part: Path, path: Path) -> None:
    """To its place in one step, and never over something else: renameat2(2) with RENAME_NOREPLACE."""
    if _renamed(part, path):
        return
    if part.is_dir():
        part.rename(path)  # refused by the system where something is there
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names for a file
        part.rename(path)
        return
    part.unlink()


def _renamed(part: Path, path: Path) -> bool:
    """False where this system, or this file system, cannot. OSError where it can, and it went wrong."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(part), AT_FDCWD, os.fsencode(path), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(path))


def _is_ours(ledger: Ledger, part: Path) -> bool:
    """Whether the part is there, and the one that was noted. The device's number is another after a reboot."""
    return os.path.lexists(part) and _inode(part) == (ledger.fact(OURS) or " ").split(" ")[-1]


def _inode(path: Path) -> str:
    return str(path.lstat().st_ino)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
