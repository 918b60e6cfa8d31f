"""What the service says and is told, as values: layer 2 measurements, notifications, subscriptions. Pure.

Field names are MEC 012's; figures in it are those of 3GPP TS 36.314: scheduled throughput in kbit/s, packet delay
in ms; discard rates are per cent, as MEC 012 says. It reads bodies with and without the name of their type around
them, for versions of the service differ in that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from orchestrator.errors import OrchestratorError

UE_IPV4 = 1  # AssociateId.type
DEFAULT_QCI, DEFAULT_ERAB = 9, 5  # of the bearer that every UE has from the start
KBIT_S, MS, PERCENT = 1000 / 8, 1e-3, 1e-2

SUBSCRIPTIONS: dict[str, tuple[str, str]] = {  # kind → where its filter stands, and its value of subscription_type
    "CellChange": ("filterCriteriaAssocHo", "cell_change"),
    "RabEst": ("filterCriteriaQci", "rab_est"),
    "RabRel": ("filterCriteriaQci", "rab_rel"),
    "MeasRepUe": ("filterCriteriaAssocTri", "meas_rep_ue"),
    "NrMeasRepUe": ("filterCriteriaNrMrs", "nr_meas_rep_ue"),
}


class RnisError(OrchestratorError):
    """The service cannot be reached, refuses, or says what is not in the standard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioFigures:
    """One direction of a UE's traffic; None where nothing was scheduled or the service does not say.

    `bytes_per_s` is what got through while there was something to send, `discarded` the share that did not.
    """

    bytes_per_s: float | None = None
    delay_s: float | None = None
    discarded: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UeFigures:
    """Layer 2 measurements of one UE in one cell."""

    ue: str
    cell: str
    up: RadioFigures
    down: RadioFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Something happened: `kind` as in SUBSCRIPTIONS, or "Expiry" or "Test". `ues` none: it is not said to whom.

    `subscription` is the identifier of the one that is about to expire.
    """

    kind: str
    ues: tuple[str, ...] = ()
    subscription: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription that the service holds. `number` is the last part of its address."""

    number: str
    kind: str


def layer2(body: Any) -> tuple[UeFigures, ...]:
    """The UEs of an L2Meas body. RnisError for what is none."""
    meas = _object(_unwrapped(body, "L2Meas"), "L2Meas")
    entries = meas.get("cellUEInfo") or []
    found = []
    for entry in entries if isinstance(entries, list) else [entries]:
        info = _object(entry, "cellUEInfo")
        for ue in _addresses(info.get("associateId")):
            up, down = _figures(info, "ul"), _figures(info, "dl")
            found.append(UeFigures(ue=ue, cell=_cell(info.get("ecgi")), up=up, down=down))
    return tuple(found)


def notification(body: Any) -> Notification:
    """The notification in a callback's body. RnisError for what is none."""
    plain = _object(body, "a notification")
    if len(plain) == 1 and "notificationType" not in plain:  # older services write {"CellChangeNotification": {…}}
        (name, inner), *_ = plain.items()
        plain = {"notificationType": name, **_object(inner, name)}
    name = str(plain.get("notificationType", ""))
    if not name.endswith("Notification"):
        raise RnisError(f"a notification of type {name!r}; the standard's end in Notification")
    link = plain.get("_links")
    subscription = link.get("subscription") if isinstance(link, dict) else None
    return Notification(
        kind=name.removesuffix("Notification"),
        ues=tuple(_addresses(plain.get("associateId"))),
        subscription=None if not isinstance(subscription, dict) else _number(subscription),
    )


def subscription_body(kind: str, callback: str, ue: str, *, app: str | None = None) -> dict[str, Any]:
    """What to post to have notifications of a kind about a UE sent to `callback`.

    Radio bearers cannot be asked for by UE: those of the default bearer come of every UE that `app` may see.
    """
    criteria, _ = SUBSCRIPTIONS[kind]
    chosen: dict[str, Any] = {} if app is None else {"appInstanceId": app}
    if kind == "RabEst":
        chosen |= {"qci": DEFAULT_QCI}
    elif kind == "RabRel":
        chosen |= {"qci": DEFAULT_QCI, "erabId": DEFAULT_ERAB}
    else:
        chosen |= {"associateId": [{"type": UE_IPV4, "value": ue}]}
    return {"subscriptionType": f"{kind}Subscription", "callbackReference": callback, criteria: chosen}


def subscription(body: Any, location: str | None = None) -> Subscription:
    """The subscription that the service made or keeps. `location`: its address, if a header told it."""
    plain = _object(_unwrapped(body, *(f"{kind}Subscription" for kind in SUBSCRIPTIONS)), "a subscription")
    link = location or (_object(plain.get("_links"), "_links").get("self") if "_links" in plain else None)
    if link is None:
        raise RnisError("a subscription without _links.self and Location; it could never be cancelled")
    number = _number({"href": link} if isinstance(link, str) else link)
    return Subscription(number=number, kind=str(plain.get("subscriptionType", "")).removesuffix("Subscription"))


def subscription_list(body: Any) -> tuple[Subscription, ...]:
    """The subscriptions of a SubscriptionLinkList body."""
    links = _object(_object(_unwrapped(body, "SubscriptionLinkList"), "SubscriptionLinkList").get("_links"), "_links")
    entries = links.get("subscription") or []
    return tuple(
        Subscription(number=_number(entry), kind=str(entry.get("subscriptionType", "")).removesuffix("Subscription"))
        for entry in (entries if isinstance(entries, list) else [entries])
    )


def problem(body: Any) -> str:
    """What ProblemDetails say, in one line; empty if they say nothing."""
    plain = _unwrapped(body, "ProblemDetails")
    said = [plain.get("title"), plain.get("detail")] if isinstance(plain, dict) else []
    return ": ".join(" ".join(str(part).split()) for part in said if part)[:300]


def _figures(info: Mapping[str, Any], way: str) -> RadioFigures:
    """Best-effort traffic, as tensors are; where the service has none of it, that with a guaranteed rate."""
    for sort in ("nongbr", "gbr"):
        kbit_s, delay_ms, discarded = (
            _figure(info, f"{way}_{sort}_{what}_ue") for what in ("throughput", "delay", "pdr")
        )
        if kbit_s:
            return RadioFigures(
                bytes_per_s=kbit_s * KBIT_S,
                delay_s=None if delay_ms is None else delay_ms * MS,
                discarded=min((discarded or 0.0) * PERCENT, 1.0),
            )
    return RadioFigures()


def _figure(info: Mapping[str, Any], name: str) -> float | None:
    value = info.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise RnisError(f"{name} is {value!r}; a number that is not negative was expected")
    return float(value)


def _addresses(given: Any) -> Iterator[str]:
    for entry in given if isinstance(given, list) else [given] if given else []:
        if isinstance(entry, dict) and str(entry.get("type")) in ("1", "UE_IPv4_ADDRESS", "UE_IPV4_ADDRESS"):
            yield str(entry.get("value"))


def _cell(ecgi: Any) -> str:
    return str(ecgi.get("cellId", "")) if isinstance(ecgi, dict) else ""


def _unwrapped(body: Any, *names: str) -> Any:
    if isinstance(body, dict) and len(body) == 1 and next(iter(body)) in names:
        return next(iter(body.values()))
    return body


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RnisError(f"{what} is {str(value)[:60]!r}; a JSON object was expected")
    return value


def _number(link: Mapping[str, Any]) -> str:
    number = str(link.get("href", "")).rstrip("/").rpartition("/")[2]
    if not number:
        raise RnisError("a subscription's address (href) is empty; it could never be cancelled")
    return number
