"""What a dataset job reads: items with ids that stay, each read when its turn comes.

A folder holds pictures and recordings, an item a file; a .npz, .jsonl or .parquet file holds an item a row
(rows.py). A dataset that cannot be read at all raises JobError; an item that cannot, BadInput.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.rows import JsonLines, Parquet, Table
from orchestrator.samples import PICTURES, load_inputs

RECORDINGS = (".wav", ".flac", ".ogg")
TABLES: Mapping[str, type[Table]] = {".npz": Table, ".jsonl": JsonLines, ".parquet": Parquet}


class Dataset(Protocol):
    """Items by id. `mark` changes when items may have."""

    mark: str

    def ids(self) -> Sequence[str]:
        """Every item, in order; each id once."""
        ...

    def check(self, inputs: Sequence[TensorSpec]) -> None:
        """JobError where no item can be what these inputs take."""
        ...

    def feeds(self, item: str, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
        """An item's tensors, from any thread. BadInput where it can't be read or doesn't fit."""
        ...


def open_dataset(path: Path) -> Dataset:
    """The dataset there. JobError if there is none, it is empty, or it's not what its suffix says."""
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise JobError(f"no dataset {path}; give a folder of pictures or recordings, a .npz, .jsonl or .parquet file")
    kind = TABLES.get(path.suffix.lower())
    if kind is None:
        raise JobError(f"{path}: no reader for {path.suffix!r} files; give a folder, or a {', '.join(TABLES)} file")
    return kind(path)


class Folder:
    """Pictures and recordings below a folder, by their paths in it; what begins with a dot is left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.mark = "folder"  # a file that is gone fails by itself, one that is new is not of this job
        inner = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
        names = sorted(each.as_posix() for each in inner if not any(part.startswith(".") for part in each.parts))
        self._ids = [name for name in names if Path(name).suffix.lower() in (*PICTURES, *RECORDINGS)]
        self.left_out = len(names) - len(self._ids)
        if odd := [name for name in self._ids if name != name.encode(errors="replace").decode()]:
            raise JobError(f"{path}: the name of {odd[0]!r} is no UTF-8; rename that file")
        if not names:
            raise JobError(f"{path} is an empty folder; give one that holds pictures or recordings")
        if not self._ids:
            raise JobError(
                f"{path} holds no picture or recording, only {names[0]} and the like; "
                f"known are {', '.join((*PICTURES, *RECORDINGS))}"
            )

    def ids(self) -> Sequence[str]:
        """As Dataset."""
        return self._ids

    def check(self, inputs: Sequence[TensorSpec]) -> None:
        """As Dataset."""
        if len(inputs) == 1:
            spec, suffixes = inputs[0], {Path(name).suffix.lower() for name in self._ids}
            if spec.dtype == "uint8" and len(spec.shape) in (1, 3) and not suffixes.isdisjoint(PICTURES):
                return
            if spec.dtype == "float32" and len(spec.shape) in (1, 2) and not suffixes.isdisjoint(RECORDINGS):
                return
        takes = ", ".join(f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in inputs)
        raise JobError(
            f"{self._path}: the deployment takes {takes}, and what files of a folder become there is not known: "
            "pictures go to one uint8 input, recordings to one float32 input; give a .npz, .jsonl or .parquet file"
        )

    def feeds(self, item: str, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
        """As Dataset."""
        path = self._path / item
        try:
            if path.suffix.lower() in RECORDINGS:
                return {inputs[0].name: recording(path, inputs[0])}
            return load_inputs(path, inputs)
        except OSError as error:
            raise BadInput(f"{item}: {error.strerror or error}") from None


def recording(path: Path, spec: TensorSpec) -> Array:
    """A recording as float32 samples in -1 to 1, channels averaged: [n], or [1, n] where the input has two dimensions.

    Its rate stays as it is. BadInput for what is no recording.
    """
    try:
        import soundfile
    except ImportError:
        raise BadInput("reading recordings needs soundfile; install it with: pip install 'isthmus[jobs]'") from None
    try:
        samples, _rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise BadInput(f"{path} is no recording: {' '.join(str(error).split())[:120]}") from None
    mono: Array = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    return mono[None] if len(spec.shape) == 2 else mono
