"""The gateway's log: a line a request, with what it was about and how it ended."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import pytest

from nodes.json_log import JsonLines
from orchestrator import trace_ids
from orchestrator.errors import RequestFailed
from orchestrator.gateway.accounts import ACCESS, CAME_WITH, MOST, Accounts
from tests.orchestrator.gateway.served import Served

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DATA = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


class Lines(logging.Handler):
    """Keeps lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.kept: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    ACCESS.addHandler(handler)
    ACCESS.setLevel(logging.INFO)
    yield handler
    ACCESS.setLevel(logging.NOTSET)
    ACCESS.removeHandler(handler)


def ask(served: Served, model: str = "float32", id: str = "mine", **headers: str) -> None:
    body = json.dumps({"id": id, "inputs": [DATA]}).encode()
    url = f"http://{served.http}/v2/models/{model}/infer"
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20).close()


def test_a_request_is_a_line_with_ids_and_times(served: Served, lines: Lines) -> None:
    ask(served, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    (told,) = lines.kept
    wanted = {
        "level": "info", "logger": "isthmus.gateway.access", "deployment": "float32", "version": 2, "epoch": 1,
        "status": "OK", "id": "mine", "request": "r1", "trace": TRACE,
    }  # fmt: skip
    assert wanted.items() <= told.items()
    assert 0 < told["ms"] < 20_000


def test_a_refusal_says_why(served: Served, lines: Lines) -> None:
    ask(served, "absent")
    served.echo.raises = RequestFailed("request r2: stage s1 broke")
    ask(served)
    absent, broken = lines.kept
    assert (absent["status"], absent["deployment"]) == ("NOT_FOUND", "absent")
    assert (broken["status"], broken["error"]) == ("INTERNAL", "request r2: stage s1 broke")
    assert "request" not in absent and "trace" not in absent


def test_what_a_client_calls_itself_is_one_short_line(served: Served, lines: Lines) -> None:
    ask(served, id="a\n" * MOST)
    assert len(lines.kept[0]["id"]) == MOST


def test_a_trace_ends_with_its_request() -> None:
    def one() -> tuple[str, str]:
        CAME_WITH.set(f"00-{TRACE}-00f067aa0ba902b7-01")
        accounts = Accounts()
        assert accounts.are_kept
        with accounts.open("m"):
            within = trace_ids.TRACE.get()
        return within, trace_ids.TRACE.get()

    assert copy_context().run(one) == (TRACE, "")


def test_nobody_is_told_unless_they_ask(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    ask(served)
    assert caplog.records == []
    assert not served.serving.accounts.are_kept
