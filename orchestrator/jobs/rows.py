"""Files of rows: .npz (an array an input), .jsonl (an object a line), .parquet (a column an input). An item is a row.

A row may lack the leading 1 that an input has for a batch. Ids are row numbers, so a file that changes under a job
cannot go on: `mark` tells.
"""

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.held import HELD
from orchestrator.jobs.errors import JobError


class Table:
    """A .npz file: arrays of equal length, by input. All of it is held in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        told = path.stat()
        self.mark = f"{told.st_size} {told.st_mtime_ns}"
        self._lock = Lock()
        try:
            self._count = self._open()
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            why = " ".join(str(error).split())[:120]
            raise JobError(f"{path} cannot be read as {path.suffix}: {why}; is it what its suffix says?") from None
        if not self._count:
            raise JobError(f"{path} holds no row; give a file that does")

    def _open(self) -> int:
        """Make ready to read; how many rows there are."""
        held = np.load(self._path)
        if isinstance(held, np.ndarray):
            raise ValueError("a single array, not an archive of arrays by input name")
        with held:
            self._arrays = {name: held[name] for name in held.files}
        lengths = {name: len(array) if array.ndim else 0 for name, array in self._arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError("arrays of different lengths, " + ", ".join(f"{k}: {n}" for k, n in lengths.items()))
        return next(iter(lengths.values()), 0)

    def ids(self) -> Sequence[str]:
        """Row numbers, from 0, with leading zeros so that they sort."""
        width = len(str(self._count - 1))
        return [f"{row:0{width}}" for row in range(self._count)]

    def names(self) -> Sequence[str] | None:
        """Which inputs each row has; None where rows may differ."""
        return list(self._arrays)

    def check(self, inputs: Sequence[TensorSpec]) -> None:
        """JobError where the file lacks an input."""
        names = self.names()
        missing = [] if names is None else [spec.name for spec in inputs if spec.name not in names]
        if missing:
            raise JobError(f"{self._path} lacks {', '.join(missing)}, which the deployment takes; it has {names}")
        if odd := [f"{spec.name}: {spec.dtype}" for spec in inputs if spec.dtype in HELD]:
            raise JobError(f"the deployment takes {', '.join(odd)}, and jobs feed no text and no bfloat16 yet")

    def feeds(self, item: str, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
        """A row's tensors. BadInput where they can't be what the inputs take."""
        with self._lock:
            row = self._row(int(item))
        return {spec.name: fitted(row, spec) for spec in inputs}

    def _row(self, number: int) -> dict[str, Any]:
        return {name: array[number] for name, array in self._arrays.items()}


class JsonLines(Table):
    """A .jsonl file: on each line an object of nested lists by input. Lines are found once and read one by one."""

    def _open(self) -> int:
        self._starts = []
        with self._path.open("rb") as file:
            start = 0
            for line in file:
                if line.strip():
                    self._starts.append(start)
                start += len(line)
        if self._starts and not self._line(0).lstrip().startswith(b"{"):
            raise ValueError("its first line is no JSON object")
        return len(self._starts)

    def names(self) -> Sequence[str] | None:
        """As Table."""
        return None

    def _line(self, number: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._starts[number])
            return file.readline()

    def _row(self, number: int) -> dict[str, Any]:
        try:
            row = json.loads(self._line(number))
        except ValueError as error:
            raise BadInput(f"line {number + 1} is no JSON: {error}") from None
        if not isinstance(row, dict):
            raise BadInput(f"line {number + 1} is no JSON object of inputs, but a {type(row).__name__}")
        return row


class Parquet(Table):
    """A .parquet file: a column an input, lists for tensors, which may be flat. A group of rows is held at a time."""

    def _open(self) -> int:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise JobError(
                f"reading {self._path} needs pyarrow; install it with: pip install 'isthmus[jobs]'"
            ) from None
        try:
            self._parquet = ParquetFile(self._path)
        except ArrowException as error:
            raise ValueError(str(error)) from None
        found = self._parquet.metadata
        self._ends = np.cumsum([found.row_group(group).num_rows for group in range(found.num_row_groups)])
        self._group, self._table = -1, None
        return int(found.num_rows)

    def names(self) -> Sequence[str] | None:
        """As Table."""
        return list(self._parquet.schema_arrow.names)

    def _row(self, number: int) -> dict[str, Any]:
        group = int(np.searchsorted(self._ends, number, side="right"))
        if group != self._group:
            self._group, self._table = group, self._parquet.read_row_group(group)
        before = int(self._ends[group - 1]) if group else 0
        row: dict[str, Any] = self._table.slice(number - before, 1).to_pylist()[0]  # type: ignore[attr-defined]
        return row


def fitted(row: dict[str, Any], spec: TensorSpec) -> Array:
    """A row's entry as its input wants it. BadInput where it lacks one, or no cast or shape fits without loss."""
    value = row.get(spec.name)
    if value is None:
        raise BadInput(f"{spec.name} is missing")
    wanted = np.dtype(spec.dtype)
    try:
        array = np.asarray(value) if isinstance(value, np.ndarray | np.generic) else _listed(value, wanted)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{spec.name} is no {spec.dtype} tensor: {' '.join(str(error).split())[:120]}") from None
    if array.dtype != wanted:
        if not np.can_cast(array.dtype, wanted, "same_kind"):
            raise BadInput(f"{spec.name} is {array.dtype.name}, wants {spec.dtype}")
        array = array.astype(wanted)
    if array.ndim == len(spec.shape) - 1 and spec.shape[0] in (1, None):
        array = array[None]
    if array.ndim == 1 and len(spec.shape) > 1 and None not in spec.shape and array.size == prod(_whole(spec)):
        array = array.reshape(_whole(spec))
    return np.ascontiguousarray(array)


def _listed(value: Any, wanted: np.dtype[Any]) -> Array:
    """Nested lists as an array; numbers that the dtype can't hold are refused rather than wrapped or cut off."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("lists of different lengths") from None
    if array.dtype == object or array.dtype.kind in "US":
        raise ValueError("it holds text, or nothing where a number should be")
    if wanted.kind in "iu" and array.dtype.kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise ValueError(f"numbers from {array.min()} to {array.max()}")
        return array.astype(wanted)
    return array.astype(wanted) if wanted.kind == "f" and array.dtype.kind in "iuf" else array


def _whole(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dimension for dimension in spec.shape if dimension is not None)
