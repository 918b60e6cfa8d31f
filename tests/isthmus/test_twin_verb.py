"""`isthmus twin`: what it prints of two recorded runs, and what it refuses."""

import json
from pathlib import Path

from orchestrator.request_log import REQUESTS, RequestLog
from simulations.twin import read_run, services_of, twin
from tests.isthmus.conftest import Isthmus
from tests.simulations.recorded import recorded


def test_a_run_is_told_beside_its_twin(isthmus: Isthmus, tmp_path: Path) -> None:
    run, times = (recorded(tmp_path / name, per_s=20, seed=seed, count=300) for seed, name in enumerate("ab"))
    (found,) = twin(read_run(run), services_of(read_run(times)))
    shown = isthmus("twin", run, "--times", times)
    assert (shown.code, shown.err) == (0, "")
    (told,) = [line.split() for line in shown.out.splitlines() if line.startswith("classify")]
    assert told[1:6] == [
        "300", f"{found.measured_p50_s * 1e3:,.1f}", "ms", f"{found.predicted_p50_s * 1e3:,.1f}", "ms",
    ]  # fmt: skip
    assert told[-1] == f"{found.p99_off:+.1%}"
    both = twin(read_run(run), services_of(read_run(times), read_run(run)))[0]
    assert both.predicted_p99_s != found.predicted_p99_s
    plain = json.loads(isthmus("twin", run, "--times", times, "--times", run, "--json").out)
    assert plain["times"] == [str(times), str(run)]
    assert plain["deployments"][0]["p99_s"]["foretold"] == both.predicted_p99_s
    plain = json.loads(isthmus("twin", run, "--times", times, "--json").out)
    assert plain["deployments"][0]["p99_s"] == {
        "measured": found.measured_p99_s, "foretold": found.predicted_p99_s, "off": found.p99_off,
    }  # fmt: skip


def test_requests_whose_plans_the_journal_lacks_are_left_out_and_counted(isthmus: Isthmus, tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", per_s=20, seed=1, count=60)
    kept, log = read_run(run).answers, RequestLog()
    for number, one in enumerate(kept):
        log.note(one._replace(epoch=7) if number < 9 else one)
    (run / REQUESTS).unlink()
    log.write(run / REQUESTS)
    shown = isthmus("twin", run, "--times", run)
    assert "9 requests left out: the journal was shortened since" in " ".join(shown.out.split())
    told = json.loads(isthmus("twin", run, "--times", run, "--json").out)
    assert (told["left_out"], told["deployments"][0]["requests"]) == (9, 51)


def test_what_is_no_recording_is_refused_in_one_line(isthmus: Isthmus, tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", per_s=20, seed=1, count=30)
    (tmp_path / "none").mkdir()
    ended = isthmus("twin", run, "--times", tmp_path / "none")
    assert ended.code == 1
    assert "journal.sqlite: there is no such file" in " ".join(ended.err.split())
