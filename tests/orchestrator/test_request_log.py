"""Claims about the log of requests: it is bounded, whole on disk or not there, and read as it was written."""

import errno
import os
from pathlib import Path

import pytest

from nodes.framing import HopTiming
from orchestrator.errors import JournalError
from orchestrator.request_log import Ended, RequestLog, read_request_log

HOP = HopTiming("s1", 0.001, 0.0, 0.01, 0.002, "0.1")


def ended(number: int, **changes: object) -> Ended:
    return Ended("live", 1e9 + number, 0.02, 3, 1, "", 600_000)._replace(**changes)


def test_only_the_newest_are_kept_and_the_others_counted() -> None:
    log = RequestLog(most=3)
    for number in range(5):
        log.note(ended(number))
    assert [one.arrived_s - 1e9 for one in log] == [2, 3, 4]
    assert log.forgotten == 2


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    log, path = RequestLog(), tmp_path / "requests.jsonl"
    for one in (ended(1, hops=(HOP,)), ended(2, failed="timeout", epoch=0)):
        log.note(one)
    assert log.write(path) == 2
    assert read_request_log(path) == tuple(log)


def test_a_disk_that_refuses_leaves_the_file_before_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "requests.jsonl"
    path.write_text("before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(JournalError, match=r"requests\.jsonl: No space left"):
        RequestLog().write(path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("requests.jsonl", "before")]


def test_a_line_that_is_no_request_is_named(tmp_path: Path) -> None:
    log, path = RequestLog(), tmp_path / "requests.jsonl"
    log.note(ended(1))
    log.write(path)
    with path.open("a") as file:
        file.write('{"deployment": "live"}\n')
    with pytest.raises(JournalError, match="line 2: no request"):
        read_request_log(path)
