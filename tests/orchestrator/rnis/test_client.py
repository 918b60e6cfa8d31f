"""Claims about the RNIS client against a stand-in: what it asks, what it reads, and each fault in one clear line."""

from collections.abc import Iterator

import pytest

from orchestrator.rnis.client import RnisBusy, RnisClient, RnisRefused
from orchestrator.rnis.messages import SUBSCRIPTIONS, RnisError, Subscription
from tests.orchestrator.rnis.stand_in import UE, StandIn, measured, stand_in


@pytest.fixture
def service() -> Iterator[StandIn]:
    with stand_in() as service:
        yield service


def test_throughput_is_read_in_kbit_s_and_delay_in_ms(service: StandIn) -> None:
    (found,) = RnisClient(service.url).layer2_meas(UE)
    assert (found.up.bytes_per_s, found.down.bytes_per_s) == (1e6, 5e6)
    assert (found.up.delay_s, found.down.delay_s) == (0.012, 0.007)
    assert service.asked == [("GET", "/rni/v2/queries/layer2_meas", {"ue_ipv4_address": [UE]})]


@pytest.mark.parametrize("end", ["", "/", "/rni/v2", "/rni/v2/"])
def test_the_address_may_be_given_with_or_without_the_api_s_path(service: StandIn, end: str) -> None:
    assert len(RnisClient(service.url + end).layer2_meas(UE)) == 1


def test_a_ue_that_is_not_known_has_no_figures(service: StandIn) -> None:
    assert RnisClient(service.url).layer2_meas("10.45.0.99") == ()


def test_every_query_has_its_path(service: StandIn) -> None:
    client = RnisClient(service.url, app="app1", token="secret")
    assert [one["asked"] for one in (client.rab_info(UE), client.s1_bearer_info(UE), client.plmn_info())] == [
        "rab_info",
        "s1_bearer_info",
        "plmn_info",
    ]
    assert service.asked[0][2] == {"app_ins_id": ["app1"], "ue_ipv4_address": [UE]}
    assert service.asked[2][2] == {"app_ins_id": ["app1"]}
    assert service.tokens == ["Bearer secret"] * 3


@pytest.mark.parametrize("kind", SUBSCRIPTIONS)
def test_a_subscription_is_made_listed_renewed_and_cancelled(service: StandIn, kind: str) -> None:
    client = RnisClient(service.url)
    made = client.subscribe(kind, "http://127.0.0.1:1/x", UE)
    assert client.subscriptions(kind) == (made,) == (Subscription(number="sub1", kind=kind),)
    client.renew(made, "http://127.0.0.1:1/y", UE)
    assert service.held["sub1"]["callbackReference"] == "http://127.0.0.1:1/y"
    client.cancel(made)
    assert service.held == {}
    client.cancel(made)  # as good as done


def test_a_refusal_tells_what_the_problem_details_say(service: StandIn) -> None:
    with pytest.raises(RnisRefused, match=r"plmn_info: 400 Bad Request: app_ins_id is missing") as refused:
        RnisClient(service.url).plmn_info()
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("headers", "retry_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Date": "Tue, 01 Jan 2030 00:00:00 GMT", "Retry-After": "Tue, 01 Jan 2030 00:01:00 GMT"}, 60.0),
        ({"Retry-After": "86400"}, 600.0),
        ({}, 5.0),
        ({"Retry-After": "soon"}, 5.0),
    ],
)
def test_too_many_requests_tell_when_to_come_again(service: StandIn, headers: dict[str, str], retry_s: float) -> None:
    service.fails = (429, {"title": "Too Many Requests"}, headers)
    with pytest.raises(RnisBusy, match="429 Too Many Requests") as busy:
        RnisClient(service.url).layer2_meas(UE)
    assert busy.value.retry_s == retry_s


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>", "the answer is no JSON"),
        (b"[1]", "L2Meas is '\\[1\\]'; a JSON object was expected"),
        (b'{"cellUEInfo": [3]}', "cellUEInfo is '3'; a JSON object was expected"),
        (b"", "L2Meas is 'None'; a JSON object was expected"),
    ],
)
def test_nonsense_is_refused_in_one_line(service: StandIn, content: bytes, why: str) -> None:
    service.fails = content
    with pytest.raises(RnisError, match=why) as refused:
        RnisClient(service.url).layer2_meas(UE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["fast", -1, True, float("nan")])
def test_a_figure_that_is_no_number_is_named(service: StandIn, value: object) -> None:
    service.body = measured(ul_nongbr_delay_ue=value)
    with pytest.raises(RnisError, match=r"ul_nongbr_delay_ue is .*; a number that is not negative was expected"):
        RnisClient(service.url).layer2_meas(UE)


def test_a_service_that_is_gone_is_said_to_be(service: StandIn) -> None:
    with stand_in() as gone:
        url = gone.url
    with pytest.raises(RnisError, match=r"layer2_meas\?ue_ipv4_address=10\.45\.0\.2: no answer \(.*refused\)"):
        RnisClient(url).layer2_meas(UE)


def test_the_token_follows_no_redirect(service: StandIn) -> None:
    service.fails = (307, None, {"Location": "http://127.0.0.1:1/elsewhere"})
    with pytest.raises(RnisRefused, match="307"):
        RnisClient(service.url, token="secret").layer2_meas(UE)


@pytest.mark.parametrize("url", ["mec:8080", "file:///etc/passwd", "http://"])
def test_only_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(RnisError, match="no http"):
        RnisClient(url)


def test_a_service_that_tells_of_everyone_is_heeded_about_the_one(service: StandIn) -> None:
    others = measured(1.0, associateId=[{"type": 1, "value": "10.45.0.3"}])["cellUEInfo"]
    service.body["cellUEInfo"] = [*others, *service.body["cellUEInfo"]]
    assert [one.up.bytes_per_s for one in RnisClient(service.url).layer2_meas(UE)] == [1e6]
