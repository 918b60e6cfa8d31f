"""Claims about following radio links: as many as topologies name, each to its end, and faults kept to be shown."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.network import Observation
from orchestrator.rnis.radio import Radio
from orchestrator.rnis.source import RadioLink
from tests.eventually import eventually_here
from tests.orchestrator.rnis.stand_in import UE, StandIn, stand_in


@pytest.fixture
def service() -> Iterator[StandIn]:
    with stand_in() as service:
        yield service


def test_links_are_followed_while_a_topology_names_them(service: StandIn) -> None:
    camera = RadioLink(source="camera", target="mec", url=service.url, ue=UE, callback="127.0.0.1:0")
    phone = replace(camera, source="phone")
    seen: list[Observation] = []

    async def change() -> None:
        radio = Radio(seen.append)
        radio.watch([camera, camera])
        await eventually_here(lambda: len(seen) == 2)
        radio.watch([camera, phone])
        await eventually_here(lambda: "phone" in [one.source for one in seen])
        assert len(service.held) == 10
        radio.watch([phone])
        await eventually_here(lambda: len(service.held) == 5)
        await radio.close()

    asyncio.run(change())
    assert service.held == {}


def test_what_is_wrong_is_kept_until_it_is_mended(service: StandIn) -> None:
    link = RadioLink(source="camera", target="mec", url=service.url, ue="10.9.9.9")
    nowhere = replace(link, url="mec:8080")

    async def tell() -> None:
        radio = Radio(lambda seen: None)
        radio.watch([link, nowhere])
        await eventually_here(lambda: len(radio.faults()) == 2)
        assert "knows no UE 10.9.9.9" in " ".join(radio.faults())
        assert "no http(s) address" in " ".join(radio.faults())
        radio.watch([])
        assert radio.faults() == ()
        await radio.close()

    asyncio.run(tell())
