"""A row for each request that has ended, streamed to CSV or Parquet, by the file's ending.

Each replication writes a part of its own in a folder beside the file; when all are complete they are joined in their
order and the whole takes the file's name. So memory does not grow with what has passed, any number of processes writes
the same bytes, and a file of that name is whole or was there before.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj, rmtree
from tempfile import mkdtemp
from typing import Any, Protocol

from simulations.errors import SimulationsError
from simulations.world import COLUMNS, Row

CHUNK = 8192  # rows that are held until they are written, and a row group of Parquet
ENDINGS = (".csv", ".parquet")
WHOLE, WORDS = ("replication", "user", "epoch", "sent_bytes", "tries"), ("group", "failed")  # the rest is seconds


class Rows(Protocol):
    """Takes rows of one replication as they come."""

    def add(self, row: Row) -> None:
        """One more."""

    def close(self) -> None:
        """Write what is still held."""


def check_rows(path: Path) -> None:
    """SimulationsError, before anything is simulated, if rows can't go there."""
    if path.suffix not in ENDINGS:
        raise SimulationsError(f"{path}: rows go to a file that ends in {' or '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise SimulationsError(f"{path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise SimulationsError(f"{path}: is a folder; name a file")
    if path.suffix == ".parquet":
        _arrow()


def open_rows(path: Path, replication: int) -> Rows:
    """A part for one replication's rows."""
    return _Csv(path, replication) if path.suffix == ".csv" else _Parquet(path, replication)


@contextmanager
def parts(path: Path, replications: int) -> Iterator[tuple[Path, ...]]:
    """Where each replication's part goes; at the end they become the file at `path`, unless something was raised."""
    check_rows(path)
    try:
        folder = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise SimulationsError(f"{path}: can't be written: {error.strerror}") from None
    try:
        names = tuple(folder / f"{number}{path.suffix}" for number in range(replications))
        yield names
        whole = folder / f"whole{path.suffix}"
        (_join_csv if path.suffix == ".csv" else _join_parquet)(names, whole)
        os.replace(whole, path)
    finally:
        rmtree(folder, ignore_errors=True)


class _Csv:
    """Text; floats by the shortest digits that read back as the same float."""

    def __init__(self, path: Path, replication: int) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._replication, self._held = replication, list[tuple[Any, ...]]()

    def add(self, row: Row) -> None:
        self._held.append((self._replication, *row))
        if len(self._held) == CHUNK:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._writer.writerows(self._held)
        self._held.clear()


def _join_csv(names: tuple[Path, ...], whole: Path) -> None:
    with whole.open("wb") as out:
        out.write(f"replication,{','.join(COLUMNS)}\n".encode())
        for name in names:
            with name.open("rb") as part:
                copyfileobj(part, out)
            name.unlink()


class _Parquet:
    """Row groups of CHUNK rows."""

    def __init__(self, path: Path, replication: int) -> None:
        self._arrow = _arrow()
        self._schema = _schema(self._arrow)
        self._writer = self._arrow.parquet.ParquetWriter(path, self._schema)
        self._replication, self._held = replication, list[Row]()

    def add(self, row: Row) -> None:
        self._held.append(row)
        if len(self._held) == CHUNK:
            self._flush()

    def close(self) -> None:
        if self._held:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = [[self._replication] * len(self._held), *map(list, zip(*self._held, strict=True))]
        arrays = [self._arrow.array(one, type=field.type) for one, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema), row_group_size=CHUNK)
        self._held.clear()


def _join_parquet(names: tuple[Path, ...], whole: Path) -> None:
    arrow = _arrow()
    with arrow.parquet.ParquetWriter(whole, _schema(arrow)) as out:
        for name in names:
            with arrow.parquet.ParquetFile(name) as part:
                for number in range(part.num_row_groups):
                    out.write_table(part.read_row_group(number), row_group_size=CHUNK)
            name.unlink()


def _schema(arrow: Any) -> Any:
    kinds = dict.fromkeys(WHOLE, arrow.int64()) | dict.fromkeys(WORDS, arrow.string())
    return arrow.schema([(name, kinds.get(name, arrow.float64())) for name in ("replication", *COLUMNS)])


def _arrow() -> Any:
    """pyarrow, which only Parquet needs."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SimulationsError(
            "Parquet needs pyarrow, which is not installed: pip install 'isthmus[simulate]', or name a .csv"
        ) from None
    return pyarrow
