"""Claims about twins: a run whose waiting is known is foretold at a load that its service times were not taken at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import JournalError
from orchestrator.request_log import REQUESTS, Ended, RequestLog
from simulations.errors import SimulationsError
from simulations.twin import read_run, services_of, twin
from tests.simulations.recorded import PLAN, recorded


@pytest.mark.slow
def test_a_run_is_foretold_from_one_of_another_load(tmp_path: Path) -> None:
    busy, idle = recorded(tmp_path / "busy", per_s=60, seed=1), recorded(tmp_path / "idle", per_s=10, seed=2)
    (found,) = twin(read_run(busy), services_of(read_run(idle)))
    assert found.requests == 4_000 and found.deployment == "classify"
    assert abs(found.p50_off) < 0.05
    assert abs(found.p99_off) < 0.15
    (alone,) = twin(read_run(idle), services_of(read_run(idle)))
    assert alone.predicted_p99_s < 0.7 * found.predicted_p99_s  # so waiting is in it


def test_a_stage_that_the_other_run_lacks_takes_what_others_took_over_plan(tmp_path: Path) -> None:
    run = read_run(recorded(tmp_path / "run", per_s=10, seed=1, count=100))
    services = services_of(run)
    (stage, _) = PLAN.stages
    seen = services.of(stage)
    other = stage.__class__(**{name: getattr(stage, name) for name in stage.__slots__} | {"operators": ("another",)})
    assert np.median(services.of(other)) == pytest.approx(np.median(seen / stage.seconds) * other.seconds, rel=1e-9)


@pytest.mark.slow
def test_waiting_that_no_hop_tells_of_is_not_taken_for_the_messages_own(tmp_path: Path) -> None:
    """A log whose hops leave their queues out: requests that met nobody tell what messages take."""
    busy, other = (recorded(tmp_path / name, per_s=60, seed=seed) for name, seed in (("busy", 1), ("other", 2)))
    log = RequestLog()
    for one in read_run(other).answers:
        log.note(one._replace(hops=tuple(hop._replace(queue_s=0.0) for hop in one.hops)))
    (other / REQUESTS).unlink()
    log.write(other / REQUESTS)
    (found,) = twin(read_run(busy), services_of(read_run(other)))
    assert abs(found.p50_off) < 0.05
    assert abs(found.p99_off) < 0.15


def test_the_same_seed_gives_the_same_twin(tmp_path: Path) -> None:
    run = read_run(recorded(tmp_path / "run", per_s=30, seed=1, count=200))
    services = services_of(run)
    assert twin(run, services, seed=3) == twin(run, services, seed=3) != twin(run, services, seed=4)


def _untraced(folder: Path) -> None:
    services_of(read_run(recorded(folder, per_s=10, seed=1, count=100, traced=False)))


def _other_epoch(folder: Path) -> None:
    path, log = recorded(folder, per_s=10, seed=1, count=30) / REQUESTS, RequestLog()
    log.note(Ended("classify", 1e9, 0.1, 7, 1, "", 100))
    log.write(path)
    read_run(folder)


def _no_answer(folder: Path) -> None:
    path, log = recorded(folder, per_s=10, seed=1, count=30) / REQUESTS, RequestLog()
    log.note(Ended("classify", 1e9, 0.1, 0, 0, "timeout", 100))
    log.write(path)
    read_run(folder)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_untraced, "0 traced answers; service times need 20"),
        (_other_epoch, "no plan of epoch 7 of classify"),
        (_no_answer, "no request was answered"),
        (read_run, "there is no such file"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, broken: Callable[[Path], None], says: str) -> None:
    with pytest.raises((SimulationsError, JournalError), match=says):
        broken(tmp_path / "run")
