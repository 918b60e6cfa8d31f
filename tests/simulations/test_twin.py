"""Claims about twins: a run whose waiting is known is foretold at a load that its service times were not taken at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nodes.framing import HopTiming
from orchestrator.errors import JournalError
from orchestrator.instructions import OpenEpoch
from orchestrator.journal import Journal
from orchestrator.request_log import Ended, RequestLog
from simulations.errors import SimulationsError
from simulations.twin import JOURNAL, REQUESTS, read_run, services_of, twin
from tests.builders import deploy_requested, plan_on

PLAN = plan_on("camera", "cloud")
BEYOND_S = 2e-4  # what each message takes beyond its link


def lindley(came_s: np.ndarray, takes_s: np.ndarray) -> np.ndarray:
    """When each is through, first come, first served."""
    through_s, now_s = np.empty_like(came_s), 0.0
    for place, (at_s, long_s) in enumerate(zip(came_s, takes_s, strict=True)):
        now_s = through_s[place] = max(now_s, at_s) + long_s
    return through_s


def recorded(folder: Path, *, per_s: float, seed: int, count: int = 4_000, traced: bool = True) -> Path:
    """A run of PLAN: two stages of some 10 ms each, one after the other, over its links."""
    folder.mkdir()
    with Journal(folder / JOURNAL) as journal:
        opened = OpenEpoch(deployment="classify", epoch=1, plan=PLAN, reason="deploy was asked")
        journal.append(deploy_requested(), (opened,), 1e9)
    draw, log = np.random.default_rng(seed), RequestLog()
    came_s = 1e9 + np.cumsum(draw.exponential(1 / per_s, count))
    at_s, hops = came_s.copy(), []
    for place, crossing in enumerate(PLAN.crossings):
        on_link_s = crossing.nbytes / 12.5e6 if crossing.source != crossing.target else 0.0
        after_s = BEYOND_S + (0.004 if crossing.source != crossing.target else 0.0)
        at_s = lindley(at_s, np.full(count, on_link_s)) + after_s
        if place < len(PLAN.stages):
            takes_s = draw.gamma(4.0, 0.0025, count)
            done_s = lindley(at_s, takes_s)
            hops.append((PLAN.stages[place].name, done_s - takes_s - at_s, takes_s))
            at_s = done_s
    for place in range(count):
        timings = tuple(HopTiming(name, wait[place], 0.0, takes[place], 0.0) for name, wait, takes in hops)
        latency_s = float(at_s[place] - came_s[place])
        log.note(Ended("classify", float(came_s[place]), latency_s, 1, 1, "", 100, timings if traced else ()))
    log.write(folder / REQUESTS)
    return folder


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
