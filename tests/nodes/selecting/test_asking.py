"""A cell's process: what it said counts, however it ended, and nothing of it is left."""

import json
import sys
from pathlib import Path
from typing import Any

from nodes.selecting.asking import ask
from nodes.selecting.cells import Cell, Measured
from nodes.selecting.exchange import Request, Told, request_from, to_map
from tests.eventually import eventually, stat_of
from tests.orchestrator.selecting.given import ORT, ran

REQUEST = Request(cell=ORT, folder="somewhere")
SAYS = f"print({json.dumps(to_map(ran()))!r}, flush=True)"


def answer(code: str, *, limit_s: float = 20.0, request: Request = REQUEST) -> Measured | Told:
    return ask(request, limit_s, [sys.executable, "-S", "-c", f"import os, signal, sys\n{code}"])


def test_the_last_whole_line_counts() -> None:
    assert answer(f"{SAYS}; print('{{half', end='')") == ran()


def test_a_crash_is_told_by_its_signal() -> None:
    found = answer("os.kill(os.getpid(), signal.SIGSEGV)")
    assert found == Measured(state="crashed", reason="crashed: SIGSEGV", limit_s=20.0)


def test_what_was_measured_before_a_crash_is_kept() -> None:
    found = answer(f"{SAYS}; os.kill(os.getpid(), signal.SIGABRT)")
    assert isinstance(found, Measured)
    assert (found.state, found.reason) == ("ran", "crashed: SIGABRT, after these figures")
    assert found.speed == ran().speed


def test_a_process_that_dies_of_an_error_says_its_last_words() -> None:
    found = answer("sys.exit('no such thing')")
    assert found == Measured(state="failed", reason="its process failed: no such thing", limit_s=20.0)


def test_over_its_time_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = "import subprocess; one = subprocess.Popen(['sleep', '60'])"
    found = answer(f"{child}; open({str(pid)!r}, 'w').write(str(one.pid)); one.wait()", limit_s=0.4)
    assert found == Measured(state="over time", reason="over its time limit of 0 s", limit_s=0.4)
    eventually(lambda: (stat := stat_of(int(pid.read_text()))) is None or stat.state == "Z", what="its child's end")


def test_an_engine_that_crashes_when_asked_of_itself_is_missing() -> None:
    request = Request(cell=Cell(backend="tvm"))
    found = answer("os.kill(os.getpid(), signal.SIGILL)", request=request)
    assert found == Told(backend="tvm", missing="tvm: crashed: SIGILL")


def test_the_request_arrives_as_it_is() -> None:
    request = Request(cell=Cell(backend="a", options=(("b", 2),)), folder="f", batches={"2": "g"}, seconds=0.5)
    code = "import json; held = json.loads(sys.stdin.read()); print(json.dumps({'backend': json.dumps(held)}))"
    found = answer(code, request=request)
    assert isinstance(found, Told)
    assert request_from(json.loads(found.backend)) == request


def test_what_an_engine_prints_does_not_spoil_the_answer() -> None:
    code = (
        "import os, nodes.backend\n"
        "from nodes.selecting import process\n"
        "def load(name):\n"
        "    os.write(1, b'vendor banner'); print('and more')\n"
        "    raise nodes.errors.EngineMissing('not here')\n"
        "process.load_backend = load\n"
        "process.main()"
    )
    found: Any = ask(Request(cell=ORT), 60.0, [sys.executable, "-c", code])
    assert (found.backend, found.missing) == ("onnxruntime", "not here")
