"""The controller's book of routers: who joined what, and what each is still to be told."""

import asyncio
import pickle
from dataclasses import fields

import pytest

from orchestrator import routers as book
from orchestrator.routers import LOST_S, Drain, Routers
from orchestrator.routes import EpochRoutes

DRAIN = Drain(deployment="two", epoch=1)


def test_a_router_joins_a_deployment_once() -> None:
    routers = Routers()
    assert routers.join("r1", "two", 0.0)
    assert not routers.join("r1", "two", 1.0)
    assert routers.of("two") == ["r1"]


def test_commands_wait_for_the_next_poll_and_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "POLL_S", 0.01)
    routers = Routers()
    routers.join("r1", "two", 0.0)
    assert routers.tell("r1", DRAIN)
    assert asyncio.run(routers.poll("r1", 1.0)) == [DRAIN]
    assert asyncio.run(routers.poll("r1", 2.0)) == []


def test_a_poll_that_waits_is_answered_as_soon_as_there_is_news() -> None:
    async def story() -> None:
        routers = Routers()
        poll = asyncio.create_task(routers.poll("r1", 0.0))
        await asyncio.sleep(0)
        routers.tell("r1", DRAIN)
        assert await asyncio.wait_for(poll, 1) == [DRAIN]

    asyncio.run(story())


def test_nobody_is_told_what_is_said_to_a_router_that_left() -> None:
    routers = Routers()
    routers.join("r1", "two", 0.0)
    assert routers.leave("r1") == ["two"]
    assert not routers.tell("r1", DRAIN)
    assert routers.leave("r1") == []


def test_a_router_that_asks_no_more_is_lost_after_a_while() -> None:
    routers = Routers()
    routers.join("quiet", "two", 0.0)
    routers.join("alive", "two", LOST_S)
    assert routers.lost(LOST_S + 0.1) == ["quiet"]


def test_a_forgotten_deployment_may_be_joined_anew() -> None:
    routers = Routers()
    routers.join("r1", "two", 0.0)
    routers.forget("two")
    assert routers.of("two") == []
    assert routers.join("r1", "two", 1.0)


def test_routes_that_a_controller_of_before_pickled_are_read_with_defaults_for_what_it_did_not_know() -> None:
    """So new fields may only be added behind these."""
    names = [each.name for each in fields(EpochRoutes)]
    assert names[:15] == [
        *("deployment", "epoch", "source", "stages", "inputs", "codecs", "outputs", "watched", "shaped", "paths"),
        *("pace", "replicas", "seconds", "version", "made"),
    ]
    routes = EpochRoutes(
        deployment="two", epoch=3, source="camera", stages=(), inputs=(), codecs={}, outputs=("y",), version=4
    )
    assert pickle.loads(pickle.dumps(routes)) == routes
    before = object.__new__(EpochRoutes)
    before.__setstate__(routes.__getstate__()[:15])  # type: ignore[attr-defined]
    assert before == routes
