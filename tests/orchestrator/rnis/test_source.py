"""Claims about a link as the radio network sees it: when it asks, what it tells, and that no fault ends it."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from orchestrator.network import Observation
from orchestrator.rnis.client import RnisClient
from orchestrator.rnis.listener import Listener
from orchestrator.rnis.messages import Notification
from orchestrator.rnis.source import RadioLink, RnisSource, follow
from tests.eventually import eventually_here
from tests.orchestrator.rnis.stand_in import UE, StandIn, measured, post, stand_in

CALLBACK = "http://127.0.0.1:1/x"


@pytest.fixture
def service() -> Iterator[StandIn]:
    with stand_in() as service:
        yield service


def link(url: str, *, callback: str | None = None) -> RadioLink:
    return RadioLink(source="camera", target="mec", url=url, ue=UE, callback=callback)


def source(service: StandIn, *, callback: str | None = None) -> RnisSource:
    return RnisSource(RnisClient(service.url), link(service.url), callback=callback)


def queries(service: StandIn) -> int:
    return sum(path.endswith("layer2_meas") for _, path, _ in service.asked)


def test_both_directions_are_told(service: StandIn) -> None:
    service.body = measured(ul_nongbr_pdr_ue=10)
    up, down = source(service).look(100.0)
    assert (up.source, up.target, up.bytes_per_s, up.propagation_s) == ("camera", "mec", 0.9e6, 0.012)
    assert (down.source, down.target, down.bytes_per_s, down.propagation_s) == ("mec", "camera", 5e6, 0.007)
    assert (up.origin, up.at_s) == ("rnis", 100.0)
    assert up.std > 0


def test_a_direction_in_which_nothing_was_sent_is_not_told(service: StandIn) -> None:
    service.body = measured(up_kbit_s=0)
    assert [one.source for one in source(service).look(0.0)] == ["mec"]


def test_where_no_delay_is_told_the_topology_s_is_believed(service: StandIn) -> None:
    service.body = measured(ul_nongbr_delay_ue=None)
    believed = RadioLink(source="camera", target="mec", url=service.url, ue=UE, propagation_s=0.004)
    up, down = RnisSource(RnisClient(service.url), believed).look(0.0)
    assert (up.propagation_s, down.propagation_s) == (0.004, 0.007)


def test_of_two_cells_that_serve_it_the_better_counts(service: StandIn) -> None:
    service.body["cellUEInfo"] += measured(up_kbit_s=16000, down_kbit_s=80)["cellUEInfo"]
    assert [one.bytes_per_s for one in source(service).look(0.0)] == [2e6, 5e6]


def test_it_is_asked_once_a_second(service: StandIn) -> None:
    asking = source(service)
    told = [len(asking.look(now_s)) for now_s in (100.0, 100.5, 100.9, 101.0)]
    assert told == [2, 0, 0, 2]


def test_a_service_that_is_gone_is_asked_ever_more_seldom_and_at_once_when_back(service: StandIn) -> None:
    asking = source(service)
    service.fails = b"<html>"
    times = []
    for tenths in range(2000):
        before = queries(service)
        assert asking.look(tenths / 10) == ()
        times += [tenths / 10] * (queries(service) - before)
    assert times[:5] == [0.0, 1.0, 3.0, 7.0, 15.0]
    assert times[-1] - times[-2] == 30.0
    assert asking.fault is not None and "no JSON" in asking.fault
    service.fails = None
    assert len(asking.look(asking.due_s)) == 2
    assert asking.fault is None


def test_it_comes_again_when_it_was_told_to_and_not_before_even_with_news(service: StandIn) -> None:
    asking = source(service, callback=CALLBACK)
    asking.look(0.0)
    service.fails = (429, None, {"Retry-After": "20"})
    asking.look(1.0)
    service.fails = None
    asking.heard(Notification(kind="CellChange", ues=(UE,)))
    assert asking.look(20.9) == ()
    assert len(asking.look(21.0)) == 2


def test_a_ue_that_the_service_does_not_know_is_said(service: StandIn) -> None:
    asking = RnisSource(RnisClient(service.url), RadioLink(source="a", target="b", url=service.url, ue="10.9.9.9"))
    assert asking.look(0.0) == ()
    assert asking.fault is not None and asking.fault.endswith("knows no UE 10.9.9.9")


@pytest.mark.parametrize(("ues", "sooner"), [((UE,), True), ((), True), (("10.45.0.99",), False)])
def test_news_of_the_ue_has_it_asked_at_once(service: StandIn, ues: tuple[str, ...], sooner: bool) -> None:
    asking = source(service)
    asking.look(100.0)
    asking.heard(Notification(kind="CellChange", ues=ues))
    assert bool(asking.look(100.2)) == sooner


def test_it_subscribes_to_all_kinds_once_and_cancels_them(service: StandIn) -> None:
    asking = source(service, callback=CALLBACK)
    asking.look(0.0)
    asking.look(1.0)
    assert (service.made, len(service.held)) == (5, 5)
    asking.close()
    assert service.held == {}
    assert asking.look(2.0) == ()


def test_a_subscription_about_to_expire_is_renewed(service: StandIn) -> None:
    asking = source(service, callback=CALLBACK)
    asking.look(0.0)
    asking.heard(Notification(kind="Expiry", subscription="sub3"))
    asking.look(0.2)
    assert [path for method, path, _ in service.asked if method == "PUT"] == ["/rni/v2/subscriptions/sub3"]


def test_a_subscription_that_the_service_forgot_is_made_again(service: StandIn) -> None:
    asking = source(service, callback=CALLBACK)
    asking.look(0.0)
    service.held.clear()
    asking.look(59.0)
    assert service.held == {}
    asking.look(60.0)
    assert len(service.held) == 5


def test_a_service_that_comes_back_is_subscribed_to_at_once(service: StandIn) -> None:
    asking = source(service, callback=CALLBACK)
    service.fails = (503, None, {"Retry-After": "1"})
    asking.look(0.0)
    service.fails = None
    asking.look(1.0)
    assert len(service.held) == 5


def test_where_subscriptions_are_refused_asking_goes_on(service: StandIn) -> None:
    service.refuses_subscriptions = True
    asking = source(service, callback=CALLBACK)
    assert len(asking.look(0.0)) == 2
    assert len(asking.look(1.0)) == 2
    assert service.made == 0


@pytest.fixture
def listening() -> Iterator[tuple[str, list[Notification]]]:
    """A listener's address, and what it heard."""
    heard: list[Notification] = []
    listener = Listener(heard.append)
    yield listener.callback, heard
    listener.close()


@pytest.mark.parametrize("body", [None, [], {"notificationType": "Coffee"}])
def test_a_callback_that_is_no_notification_is_refused(listening: tuple[str, list[Notification]], body: object) -> None:
    callback, heard = listening
    assert post(callback, body) == 400
    assert post(callback, None, raw=b"{") == 400
    assert post(callback, None, raw=b"x" * (64 << 10) + b"x") == 413
    assert heard == []


def test_a_callback_elsewhere_is_not_found(listening: tuple[str, list[Notification]]) -> None:
    callback, heard = listening
    assert post(callback[:-1], {"notificationType": "TestNotification"}) == 404
    assert post(callback, {"notificationType": "TestNotification"}) == 204
    assert heard == [Notification(kind="Test")]


async def following(service: StandIn, until: Callable[[list[Observation]], bool], then: Callable[[], object]) -> None:
    """Follow the link, told by callback, until it was seen once; then do something, and go on until it was heeded."""
    seen: list[Observation] = []
    task = asyncio.create_task(follow(link(service.url, callback="127.0.0.1:0"), seen.append))
    try:
        await eventually_here(lambda: len(seen) == 2)
        await asyncio.to_thread(then)
        await eventually_here(lambda: until(seen))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_cell_change_is_felt_at_once_by_callback(service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.rnis.source.EVERY_S", 1000.0)

    def change() -> None:
        service.body = measured(up_kbit_s=800)
        assert service.notify("CellChange", hoStatus=3) == 204

    asyncio.run(following(service, lambda seen: seen[-2].bytes_per_s == 1e5, change))
    assert service.held == {}  # all was cancelled in the end


def test_an_expiry_is_heeded_by_callback(service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.rnis.source.EVERY_S", 1000.0)
    was_made_again = 6
    forgotten = partial(service.expire, "RabRel", forget=True)
    asyncio.run(following(service, lambda _: service.made == was_made_again, forgotten))


def test_a_service_that_is_not_there_ends_nothing(service: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.rnis.source.EVERY_S", 0.01)
    service.fails = (500, None, {})

    async def outlive() -> None:
        seen: list[Observation] = []
        task = asyncio.create_task(follow(link(service.url), seen.append))
        await eventually_here(lambda: queries(service) >= 3)
        service.fails = None
        await eventually_here(lambda: len(seen) >= 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(outlive())
