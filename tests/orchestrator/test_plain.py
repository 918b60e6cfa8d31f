"""Claims about values as plain dicts: nothing is lost, and a newer version's keys do no harm."""

import msgpack
import pytest

from orchestrator.errors import JournalError
from orchestrator.events import EVENTS, DeployRequested, Event, NodeLost, PlanFound, Tick
from orchestrator.instructions import INSTRUCTIONS, FindPlan, OpenEpoch
from orchestrator.plain import from_plain, to_plain
from tests.builders import CAMERA_CLOUD, deploy_requested, plan_on


@pytest.mark.parametrize(
    "event",
    [
        deploy_requested(),
        PlanFound(deployment="classify", ticket=3, plan=plan_on("camera", "cloud"), current=0.5),
        PlanFound(deployment="classify", ticket=3, plan=plan_on("camera"), current=None),
        Tick(),
    ],
)
def test_an_event_survives_msgpack(event: Event) -> None:
    assert from_plain(msgpack.unpackb(msgpack.packb(to_plain(event))), EVENTS) == event


def test_an_instruction_with_a_plan_survives_msgpack() -> None:
    opened = OpenEpoch(deployment="classify", epoch=2, plan=plan_on("camera", "cloud"), reason="")
    assert from_plain(msgpack.unpackb(msgpack.packb(to_plain(opened))), INSTRUCTIONS) == opened


def test_unknown_keys_are_ignored() -> None:
    assert from_plain({"is": "NodeLost", "node": "cloud", "since_s": 3}, EVENTS) == NodeLost(node="cloud")


def test_a_missing_key_takes_its_default() -> None:
    plain = {"is": "FindPlan", "deployment": "a", "ticket": 1, "links": [to_plain(CAMERA_CLOUD)]}
    assert from_plain(plain, INSTRUCTIONS) == FindPlan(deployment="a", ticket=1, links=(CAMERA_CLOUD,))


def test_a_missing_key_without_default_is_named() -> None:
    with pytest.raises(JournalError, match="DeployRequested lacks 'spec'"):
        from_plain({"is": "DeployRequested", "deployment": "a"}, EVENTS)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(JournalError, match="'Explode' is not known to this version"):
        from_plain({"is": "Explode"}, EVENTS)


def test_whole_numbers_are_read_as_the_seconds_they_stand_for() -> None:
    plain = to_plain(CAMERA_CLOUD) | {"propagation_s": 1}
    event = from_plain({"is": "DeployRequested", "deployment": "a", "spec": "d", "links": [plain]}, EVENTS)
    assert isinstance(event, DeployRequested)
    assert isinstance(event.links[0].propagation_s, float)
