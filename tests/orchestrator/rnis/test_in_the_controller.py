"""What the radio network tells of a link reaches the core while streams are silent, and a silent service is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from partitioner.topology import Topology
from tests.eventually import eventually_here
from tests.orchestrator.rnis.stand_in import UE, stand_in
from tests.orchestrator.small_site import site
from tests.orchestrator.test_controller import Desk, at_desk


def site_with_radio(url: str) -> Topology:
    """The small site, whose camera is a UE that the service knows."""
    topology = site()
    return replace(topology, links=(replace(topology.links[0], rnis=(url, UE)), *topology.links[1:]))


def uplinks(desk: Desk) -> list[Any]:
    return [link["bytes_per_s"] for link in desk.controller.status()["links"] if link["from"] == "camera"]


def test_the_radio_network_is_believed_until_streams_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.rnis.source.EVERY_S", 0.05)

    async def story(desk: Desk) -> None:
        with stand_in() as service:
            await desk.deploy(topology=site_with_radio(service.url))
            await eventually_here(lambda: uplinks(desk) == [1e6])
            desk.controller.observe("camera", "cloud", 3e6, 0.01, 9)
            assert uplinks(desk) == [3e6]
            asked = len(service.asked)
            await eventually_here(lambda: len(service.asked) > asked + 1)
            assert uplinks(desk) == [3e6]
            await desk.controller.delete("two")
            await eventually_here(lambda: not desk.controller._radio._tasks)

    at_desk(tmp_path, story)


def test_a_service_that_is_gone_is_said_in_the_status_and_stops_nothing(tmp_path: Path) -> None:
    async def story(desk: Desk) -> None:
        with stand_in() as gone:
            url = gone.url
        status = await desk.deploy(topology=site_with_radio(url))
        assert status["state"] == "running"
        await eventually_here(lambda: desk.controller.status()["rnis"])
        assert "no answer" in desk.controller.status()["rnis"][0]

    at_desk(tmp_path, story)
