"""Claims about `isthmus status --watch`: what a look shows, how looks follow each other, and how it ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from isthmus.verbs.watch import ENTER, LEAVE, watch
from isthmus.watching import look
from orchestrator.errors import ClusterError
from tests.isthmus.conftest import Isthmus
from tests.isthmus.statuses import FakeClient, status_of

ROOT = Path(__file__).resolve().parents[2]


def shown(status: Mapping[str, Any], *, fault: str | None = None, at_s: float | None = None) -> str:
    out = StringIO()
    Console(file=out, width=120).print(look(status, time.time() if at_s is None else at_s, fault=fault))
    return out.getvalue()


def test_a_look_shows_nodes_links_stages_epochs_routers_and_decisions_with_reasons() -> None:
    text = shown(status_of())
    assert re.search(r"classify: running, epoch 1", text)
    assert re.search(r"1 +active +s1 +cloud +onnxruntime +ready", text)
    assert re.search(r"camera → cloud +400\.0 Mbps ±12% +8\.0 ms", text)
    assert re.search(r"routers: r1", text)
    assert re.search(r"30 s +switch +classify/1 +link camera → cloud went from 100 to 400 Mbps", text)
    assert re.search(r"camera +127\.0\.0\.1:7070 +42 +onnxruntime *$", text, re.M)


def test_a_lost_node_and_what_it_held_stand_out() -> None:
    text = shown(status_of(lost=True))
    assert "classify has lost s1 on cloud" in text
    assert "cloud, lost" in text


def test_figures_of_traffic_are_shown_when_a_status_has_them() -> None:
    told = status_of() | {"traffic": {"r1": {"in_flight": 3, "answers_per_s": 41.2345}}}
    assert "r1: in_flight 3, answers_per_s 41.23" in shown(told)


def test_a_journal_that_takes_no_more_is_said_first() -> None:
    text = shown(status_of() | {"journal": {"fault": "the disk is full; free some space"}})
    assert text.startswith("nothing is decided: the disk is full")


def test_a_radio_network_that_is_silent_is_said() -> None:
    assert shown(status_of() | {"rnis": ("RNIS http://mec: no answer",)}).startswith("RNIS http://mec: no answer")


def test_the_newest_decisions_come_first_and_old_ones_not_at_all() -> None:
    entry = {"what": "keep", "deployment": "classify", "epoch": None}
    history = [entry | {"at_s": 100.0 + number, "why": f"reason {number}"} for number in range(20)]
    text = shown(status_of() | {"history": history}, at_s=7300.0)
    assert re.findall(r"reason \d+", text) == [f"reason {number}" for number in range(19, 11, -1)]
    assert "119 min" in text


class Ended(Exception):
    """Enough was seen."""


def looks(ask: Callable[[], Mapping[str, Any]], number: int) -> list[tuple[Mapping[str, Any], str | None]]:
    """The first `number` looks, without a wait."""
    seen: list[tuple[Mapping[str, Any], str | None]] = []

    def wait(_: float) -> None:
        if len(seen) == number:
            raise Ended

    with pytest.raises(Ended):
        watch(ask, 1.0, lambda status, at_s, fault: seen.append((status, fault)), wait=wait)
    return seen


def test_a_controller_that_stops_answering_is_asked_on() -> None:
    answers: Iterator[Mapping[str, Any] | ClusterError] = iter(
        [status_of(), ClusterError("the controller is gone"), status_of(lost=True)]
    )

    def ask() -> Mapping[str, Any]:
        answer = next(answers)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    first, second, third = looks(ask, 3)
    assert second == (first[0], "the controller is gone")
    assert third[0]["lost_nodes"] == ["cloud"] and third[1] is None
    assert shown(*second[:1], fault=second[1]).startswith("not of now: the controller is gone")


def test_where_there_is_no_cluster_it_says_so_and_ends(isthmus: Isthmus) -> None:
    done = isthmus("status", "--watch")
    assert done.code == 1
    assert "nothing runs on this machine" in done.line


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_ctrl_c_ends_it_well(isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]) -> None:
    client = FakeClient()

    def ask() -> dict[str, Any]:
        if client.asked == 3:
            raise KeyboardInterrupt
        return FakeClient.status(client)

    monkeypatch.setattr(client, "status", ask)
    monkeypatch.setattr("isthmus.verbs.watch.joined", lambda address: client)
    before = signal.getsignal(signal.SIGTERM)
    done = isthmus("status", "--watch", "--every", "0.1", *how)
    signal.signal(signal.SIGTERM, before)
    assert (done.code, done.err) == (0, "")
    if how:
        told = [json.loads(line) for line in done.out.splitlines()]
        assert [one["links"][0]["bytes_per_s"] * 8e-6 for one in told] == [100.0, 200.0, 300.0]
    else:
        assert [f"{mbps}.0 Mbps" in done.out for mbps in (100, 200, 300)] == [True] * 3
        assert "\x1b" not in done.out


@pytest.mark.slow
def test_on_a_terminal_looks_replace_each_other_and_the_terminal_is_given_back() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.isthmus.statuses"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "100", "LINES": "8", "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    deadline_s = time.monotonic() + 60
    while seen.count(b"\x1b[H") < 3 and time.monotonic() < deadline_s:
        if select.select([ours], [], [], 1.0)[0]:
            seen += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    while select.select([ours], [], [], 5.0)[0]:
        try:
            seen += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(timeout=20) == 0
    frames = seen.decode().removeprefix(ENTER).removesuffix(LEAVE).split("\x1b[H")[1:]
    assert seen.decode().startswith(ENTER) and seen.decode().endswith(LEAVE)
    assert all(frame.count("\r\n") == 7 and "lines more in a taller window" in frame for frame in frames)
