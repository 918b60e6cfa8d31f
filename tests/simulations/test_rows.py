"""Rows of requests in files: whole or not there, the same in both forms, and never all in memory."""

import csv
import sys
import tracemalloc
from pathlib import Path

import pytest

from simulations import rows
from simulations.errors import SimulationsError
from simulations.rows import check_rows, open_rows, parts
from simulations.world import COLUMNS, Row

ROW: Row = (7, 'on "foot", far', 1.5, 0.1 + 0.2, "", 3, 0.1, 0.0, 0.02, 1e-9, 40_000, 1)
LOST: Row = (8, "cars", 2.0, 30.0, "deadline", 0, 0.0, 0.0, 0.0, 0.0, 0, 4)


def write(path: Path, *given: list[Row]) -> None:
    """A file of these rows by replication; parts are opened in the reverse order."""
    with parts(path, len(given)) as names:
        for number in reversed(range(len(given))):
            part = open_rows(names[number], number)
            for row in given[number]:
                part.add(row)
            part.close()


def test_a_csv_holds_every_row_under_its_columns_in_the_order_of_replications(tmp_path: Path) -> None:
    write(tmp_path / "out.csv", [ROW, LOST], [], [ROW])
    with (tmp_path / "out.csv").open(newline="") as file:
        head, *found = csv.reader(file)
    assert head == ["replication", *COLUMNS]
    assert found == [[str(number), *map(str, row)] for number, row in ((0, ROW), (0, LOST), (2, ROW))]
    assert float(found[0][4]) == 0.1 + 0.2


def test_parquet_holds_the_same_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(rows, "CHUNK", 2)
    write(tmp_path / "out.parquet", [ROW, LOST, ROW], [], [LOST])
    with parquet.ParquetFile(tmp_path / "out.parquet") as file:
        table = file.read()
        assert file.num_row_groups == 3
    assert table.column_names == ["replication", *COLUMNS]
    found = [tuple(row.values()) for row in table.to_pylist()]
    assert found == [(0, *ROW), (0, *LOST), (0, *ROW), (2, *LOST)]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_run_that_fails_leaves_the_file_of_before_and_nothing_else(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_text("before")

    with pytest.raises(ArithmeticError), parts(path, 1) as (name_of_part,):
        part = open_rows(name_of_part, 0)
        part.add(ROW)
        part.close()
        raise ArithmeticError
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_text() == "before"


def test_a_whole_file_takes_the_place_of_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("before")
    write(tmp_path / "out.csv", [ROW])
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "CHUNK", 512)
    with parts(tmp_path / "out.csv", 1) as (name,):
        part = open_rows(name, 0)
        tracemalloc.start()
        try:
            for _ in range(20_000):
                part.add(ROW)
            assert tracemalloc.get_traced_memory()[1] < 500_000
        finally:
            tracemalloc.stop()
            part.close()
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 20_001


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.txt", "rows go to a file that ends in .csv or .parquet"),
        ("absent/out.csv", "there is no folder"),
        ("folder.csv", "is a folder; name a file"),
    ],
)
def test_where_rows_can_not_go_is_said_before_anything_is_simulated(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SimulationsError, match=said):
        check_rows(tmp_path / name)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SimulationsError, match=r"pip install 'isthmus\[simulate\]', or name a \.csv"):
        check_rows(tmp_path / "out.parquet")
    check_rows(tmp_path / "out.csv")
