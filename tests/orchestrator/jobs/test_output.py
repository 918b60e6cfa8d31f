"""What a job writes: whole or not at all, once, and never over anything."""

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyarrow.parquet import read_table

from orchestrator.jobs import output
from orchestrator.jobs.errors import JobError
from orchestrator.jobs.ledger import End, Ledger, LedgerFull
from orchestrator.jobs.output import OURS, WRITERS, check_output, discard, is_published, publish
from orchestrator.jobs.packing import packed, unpacked
from tests.orchestrator.jobs.ledgers import answered, begun

ROOT = Path(__file__).parents[3]
DYING = """
import os, sys
from pathlib import Path
from orchestrator.jobs import output
from orchestrator.jobs.ledger import Ledger
step, folder, out, way = sys.argv[1:]
steps = []
def dying(what, real):
    def call(*args, **options):
        steps.append(what)
        if len(steps) == int(step):
            os._exit(9)
        return real(*args, **options)
    return call
output._to_disk, output._inode = dying("to disk", output._to_disk), dying("inode", output._inode)
os.link, Path.unlink = dying("link", os.link), dying("unlink", Path.unlink)
Path.rename = dying("rename", Path.rename)
Ledger.note = dying("note", Ledger.note)
output._renamed = dying("renameat2", (lambda *_: False) if way == "link" else output._renamed)
with Ledger(Path(folder)) as ledger:
    output.publish(ledger, Path(out), "sort")
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Four items: answers of 0, 2 and 3, and a failure."""
    with begun(tmp_path / "job", 4) as found:
        found.end([answered(0), End(1, None, "no picture"), answered(2), answered(3)])
        yield found


def test_an_npz_holds_an_array_an_output_and_what_failed(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, tmp_path / "out.npz", "sort")
    with np.load(tmp_path / "out.npz") as held:
        assert held["item"].tolist() == ["0000", "0002", "0003"]
        np.testing.assert_array_equal(held["y"], np.array([[0, 1], [2, 3], [3, 4]], np.float32), strict=True)
        assert (held["failed"].tolist(), held["reason"].tolist()) == (["0001"], ["no picture"])


def test_outputs_of_different_shapes_have_an_entry_each(tmp_path: Path) -> None:
    with begun(tmp_path / "job", 2) as ledger:
        ledger.end([End(at, packed({"y": np.arange(at + 1)}), None) for at in range(2)])
        publish(ledger, tmp_path / "out.npz", "sort")
    with np.load(tmp_path / "out.npz") as held:
        assert [held["y/0000"].tolist(), held["y/0001"].tolist()] == [[0], [0, 1]]


def test_a_jsonl_holds_a_line_an_item(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, tmp_path / "out.jsonl", "sort")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[1] == {"item": "0002", "outputs": {"y": [2.0, 3.0]}}
    assert lines[3:] == [{"item": "0001", "error": "no picture"}]


def test_a_parquet_file_holds_a_row_an_item(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, tmp_path / "out.parquet", "sort")
    rows = read_table(tmp_path / "out.parquet").to_pylist()
    assert rows[0] == {"item": "0000", "error": None, "y": [0.0, 1.0], "y.shape": [2]}
    assert rows[3] == {"item": "0001", "error": "no picture", "y": None, "y.shape": None}
    assert len(rows) == 4


def test_a_folder_holds_a_file_an_item(ledger: Ledger, tmp_path: Path) -> None:
    publish(ledger, tmp_path / "out", "sort")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"{item:04}.npz" for item in (0, 2, 3)),
        "failed.jsonl",
    ]
    with np.load(tmp_path / "out" / "0002.npz") as held:
        assert held["y"].tolist() == [2, 3]


def dies(step: int, ledger: Ledger, out: Path, way: str) -> bool:
    """Have another process write the output that dies at a step; whether it came to that."""
    command = [sys.executable, "-c", DYING, str(step), str(ledger.folder), str(out), way]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert status in (0, 9)
    return status == 9


def forget(ledger: Ledger, out: Path) -> None:
    subprocess.run(["rm", "-rf", str(out)], check=True)
    discard(ledger, out, "sort")


WAYS = [("out.npz", "rename"), ("out", "rename"), ("out.npz", "link")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_writer_that_dies_between_any_two_steps_leaves_nothing_or_all(
    ledger: Ledger, tmp_path: Path, name: str, way: str
) -> None:
    out, died = tmp_path / name, 0
    for step in range(1, 30):
        is_dead = dies(step, ledger, out, way)
        died += is_dead
        publish(ledger, out, "sort")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["job", name])  # no part is left
        items = out / "0003.npz" if out.is_dir() else out
        with np.load(items) as held:
            assert len(held["y"]) == (2 if out.is_dir() else 3)
        publish(ledger, out, "sort")
        forget(ledger, out)
        if not is_dead:
            break
    assert died >= 5


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "another's"])
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_an_output_that_was_moved_away_after_its_writer_died_is_not_written_again(
    ledger: Ledger, tmp_path: Path, name: str, way: str, left: str
) -> None:
    out, taken, moved = tmp_path / name, tmp_path / "taken", 0
    for step in range(1, 30):
        is_dead = dies(step, ledger, out, way)
        if out.exists():
            moved += is_dead
            out.rename(taken)
            if left != "nothing":
                out.write_text("mine")
            assert is_published(ledger, out, "sort")
            publish(ledger, out, "sort")
            kept = ["job", "taken"] + [name] * (left != "nothing")
            assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
            assert left == "nothing" or out.read_text() == "mine"
            subprocess.run(["rm", "-r", str(taken)], check=True)
        else:
            assert not is_published(ledger, out, "sort")
        forget(ledger, out)
        if not is_dead:
            break
    assert moved


def test_what_is_there_is_not_written_over(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("out.npz", "out"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(JobError, match="exists"):
            publish(ledger, tmp_path / name, "sort")
        assert (tmp_path / name).read_text() == "mine"


def test_what_a_dead_driver_had_made_is_discarded(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / ".out.npz.sort.part").write_text("half")
    discard(ledger, tmp_path / "out.npz", "sort")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def full(_ledger: Ledger, key: str, _value: str) -> None:
    raise LedgerFull(f"no room for {key}")


def test_what_fills_the_disk_is_discarded_though_the_disk_takes_no_note(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_ledger: Ledger, part: Path) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(WRITERS, ".npz", half)
    monkeypatch.setattr(Ledger, "note", full)
    with pytest.raises(JobError, match=r"out\.npz cannot be written: No space left on device"):
        publish(ledger, tmp_path / "out.npz", "sort")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_a_whole_output_that_cannot_be_noted_as_dropped_is_not_taken_for_published(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out.npz", Ledger.note
    (tmp_path / ".out.npz.sort.part").write_text("whole")
    ledger.note(OURS, output._inode(tmp_path / ".out.npz.sort.part"))
    monkeypatch.setattr(Ledger, "note", full)
    with pytest.raises(LedgerFull):
        discard(ledger, out, "sort")
    assert not is_published(ledger, out, "sort")
    monkeypatch.setattr(Ledger, "note", real)
    discard(ledger, out, "sort")
    assert not is_published(ledger, out, "sort")
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_an_output_that_was_made_before_a_reboot_is_put_at_its_place(ledger: Ledger, tmp_path: Path) -> None:
    part = tmp_path / ".out.npz.sort.part"
    part.write_text("whole")
    ledger.note(OURS, f"{part.stat().st_dev + 1} {part.stat().st_ino}")  # as they were noted once
    assert not is_published(ledger, tmp_path / "out.npz", "sort")
    publish(ledger, tmp_path / "out.npz", "sort")
    assert (tmp_path / "out.npz").read_text() == "whole"
    assert not part.exists()


def test_a_part_that_is_not_known_to_be_the_jobs_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    part = tmp_path / ".out.npz.sort.part"
    for act in (publish, discard):
        part.write_text("another's")
        ledger.note(OURS, str(part.stat().st_ino + 1))
        act(ledger, tmp_path / "out.npz", "sort")
        assert part.read_text() == "another's"


def test_an_output_that_cannot_be_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path, why in {
        tmp_path / "there": "exists; give another output",
        tmp_path / "out.csv": r"no writer for '\.csv' files",
        tmp_path / "none" / "out.npz": "no folder .*none; make it first",
        Path("/proc/out.npz"): "cannot be written",
    }.items():
        with pytest.raises(JobError, match=why):
            check_output(path)
    check_output(tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_what_appears_while_it_is_made_is_not_written_over(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out.npz", WRITERS[".npz"]

    def meanwhile(made: Ledger, part: Path) -> None:
        real(made, part)
        out.write_text("mine")

    monkeypatch.setitem(WRITERS, ".npz", meanwhile)
    with pytest.raises(JobError, match=r"out\.npz cannot be written: File exists"):
        publish(ledger, out, "sort")
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "out.npz"]


def test_text_in_an_answer_is_kept_as_text() -> None:
    words = np.empty((2,), np.object_)
    words[:] = [b"a", "münchen".encode()]
    made = unpacked(packed({"words": words, "y": np.arange(2)}))
    assert made["words"].tolist() == ["a", "münchen"]
    assert made["y"].tolist() == [0, 1]
