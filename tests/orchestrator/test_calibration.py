"""What a message costs is timed over real workers, and nothing of that stays loaded."""

from pathlib import Path

import pytest

from orchestrator.calibration import message_costs
from tests.orchestrator.small_site import site
from tests.orchestrator.worker_site import WorkerSite


@pytest.mark.slow
def test_messages_cost_microseconds_to_milliseconds_and_leave_no_stage(tmp_path: Path) -> None:
    held = WorkerSite(tmp_path)
    try:
        held.do(held.fleet.bring_up(site()))
        each_s, byte_s = held.do(message_costs(held.fleet, "camera", held.store))
        health = held.do(held.fleet.call("camera", "health"))
    finally:
        held.close()
    assert 1e-5 < each_s < 0.1
    assert 0 <= byte_s < 1e-6
    assert not health["stages"]
