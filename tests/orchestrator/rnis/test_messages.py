"""Claims about what the service says: units, identifiers, both ways of writing, and what is refused."""

from typing import Any

import pytest

from orchestrator.rnis.messages import (
    Notification,
    RadioFigures,
    RnisError,
    layer2,
    notification,
    problem,
    subscription,
    subscription_body,
)
from tests.orchestrator.rnis.stand_in import UE, measured

ASSOCIATED = {"associateId": [{"type": 1, "value": UE}]}


def test_a_body_with_its_type_s_name_around_it_means_the_same() -> None:
    assert layer2({"L2Meas": measured()}) == layer2(measured())


def test_nothing_scheduled_is_nothing_known() -> None:
    (found,) = layer2(measured(up_kbit_s=0))
    assert found.up == RadioFigures()
    assert found.down.bytes_per_s == 5e6


def test_traffic_with_a_guaranteed_rate_counts_where_there_is_no_other() -> None:
    (found,) = layer2(measured(up_kbit_s=0, ul_gbr_throughput_ue=800, ul_gbr_delay_ue=3))
    assert found.up == RadioFigures(bytes_per_s=1e5, delay_s=0.003)


def test_discards_are_per_cent() -> None:
    (found,) = layer2(measured(ul_nongbr_pdr_ue=2))
    assert found.up.discarded == pytest.approx(0.02)


def test_only_ipv4_addresses_name_a_ue() -> None:
    others = [{"type": 4, "value": "0x1234"}, {"type": 2, "value": "2001:db8::1"}, {"type": "1", "value": UE}]
    assert [one.ue for one in layer2(measured(associateId=others))] == [UE]


@pytest.mark.parametrize("kind", ["CellChange", "RabEst", "RabRel", "MeasRepUe", "NrMeasRepUe"])
def test_a_notification_says_what_happened_to_whom(kind: str) -> None:
    flat: dict[str, Any] = {"notificationType": f"{kind}Notification", **ASSOCIATED}
    assert notification(flat) == Notification(kind=kind, ues=(UE,))
    assert notification({f"{kind}Notification": ASSOCIATED}) == Notification(kind=kind, ues=(UE,))


def test_an_expiry_names_its_subscription() -> None:
    link = {"subscription": {"href": "http://mec/rni/v2/subscriptions/77"}}
    told = notification({"notificationType": "ExpiryNotification", "_links": link, "expiryDeadline": {"seconds": 1}})
    assert told == Notification(kind="Expiry", subscription="77")


@pytest.mark.parametrize("body", [None, [], {"notificationType": "Coffee"}, {"a": 1, "b": 2}])
def test_what_is_no_notification_is_refused(body: object) -> None:
    with pytest.raises(RnisError, match="notification"):
        notification(body)


def test_a_subscription_names_the_ue_by_its_ipv4_address() -> None:
    body = subscription_body("CellChange", "http://me/x", UE, app="app1")
    assert body["subscriptionType"] == "CellChangeSubscription"
    assert body["filterCriteriaAssocHo"] == {"appInstanceId": "app1", **ASSOCIATED}


def test_a_subscription_that_could_never_be_cancelled_is_refused() -> None:
    with pytest.raises(RnisError, match="could never be cancelled"):
        subscription({"subscriptionType": "RabEstSubscription"})


@pytest.mark.parametrize("body", [None, "oops", {}, {"title": None}])
def test_a_problem_without_details_says_nothing(body: object) -> None:
    assert problem(body) == ""
