"""Log lines as JSON: what each holds, and who asks for them."""

import json
import logging
import subprocess
import sys

import pytest

from nodes.errors import NodesError
from nodes.json_log import JsonLines, is_asked_for, line
from nodes.log_ring import LogRing


def test_a_line_holds_what_it_is_about_but_for_its_own_keys() -> None:
    told = json.loads(line(0.5, "info", "isthmus.worker", "a\nb", {"request": "r1", "epoch": 3, "level": "x"}))
    assert told == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "isthmus.worker",
        "message": "a\nb",
        "request": "r1",
        "epoch": 3,
    }


def test_a_log_record_is_one_line_with_its_traceback() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.ERROR, "f", 1, "%s went", ("it",), sys.exc_info(), extra={"about": {"deployment": "d"}}
        )
    (only,) = JsonLines().format(record).splitlines()
    told = json.loads(only)
    assert (told["message"], told["level"], told["deployment"]) == ("it went", "error", "d")
    assert "ValueError: first" in told["error"]


def test_a_worker_s_lines_are_alike(capsys: pytest.CaptureFixture[str]) -> None:
    LogRing().write("stage ready", deployment="d", epoch=1, stage="s1")
    told = json.loads(capsys.readouterr().err)
    assert list(told)[:4] == ["time", "level", "logger", "message"]
    assert (told["logger"], told["stage"]) == ("isthmus.worker", "s1")


def test_what_others_log_is_json_too_from_warnings_on() -> None:
    code = (
        "import logging, warnings; from nodes import json_log; json_log.set_up();"
        "logging.getLogger('other').info('no'); logging.getLogger('other').warning('yes');"
        "logging.getLogger('isthmus.x').info('ours'); warnings.warn('old')"
    )
    environment = {"ISTHMUS_LOG": "json", "PATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60)
    told = [json.loads(one) for one in done.stderr.splitlines()]
    assert [(one["logger"], one["level"]) for one in told] == [
        ("other", "warning"), ("isthmus.x", "info"), ("py.warnings", "warning"),
    ]  # fmt: skip


def test_only_json_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_LOG", "xml")
    with pytest.raises(NodesError, match="ISTHMUS_LOG=xml: there is only json"):
        is_asked_for()
    monkeypatch.setenv("ISTHMUS_LOG", "")
    assert not is_asked_for()
