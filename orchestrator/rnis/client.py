"""The service over HTTP: its four queries and its subscriptions. Blocking; each call ends within `timeout_s`.

It asks no proxy, follows no redirect to another host with the token, and interprets nothing (messages.py does).
"""

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from nodes.tls import client_context
from orchestrator.rnis.messages import (
    SUBSCRIPTIONS,
    RnisError,
    Subscription,
    UeFigures,
    layer2,
    problem,
    subscription,
    subscription_body,
    subscription_list,
)

ROOT = "/rni/v2"
MOST_BYTES = 4 << 20  # of an answer
RETRY_S = 5.0  # where a service that has too much to do does not say when to come again
MOST_RETRY_S = 600.0  # whatever it says


class RnisRefused(RnisError):
    """The service answered with an HTTP status that is no success."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RnisBusy(RnisRefused):
    """Too many requests: not to be asked again within `retry_s`."""

    def __init__(self, message: str, status: int, retry_s: float) -> None:
        super().__init__(message, status)
        self.retry_s = retry_s


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer that is no success: the token is for this host alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class RnisClient:
    """A client of the service whose API root is `url`, with or without /rni/v2.

    `token` is sent as OAuth 2.0 bearer token; `app` names this MEC application instance.
    """

    def __init__(self, url: str, *, token: str | None = None, app: str | None = None, timeout_s: float = 2.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise RnisError(f"RNIS {url}: no http(s) address; give the API root, as in http://HOST:PORT")
        self.url = url.rstrip("/").removesuffix(ROOT) + ROOT
        self._token = token
        self._app = app
        self._timeout_s = timeout_s
        secure = [HTTPSHandler(context=client_context())] if url.startswith("https:") else []
        self._opener = build_opener(ProxyHandler({}), _NoRedirect(), *secure)

    def layer2_meas(self, ue: str) -> tuple[UeFigures, ...]:
        """Throughput, delay and discards of the UE with this IPv4 address, per cell; none if it is not known."""
        found = layer2(self._get("/queries/layer2_meas", {"ue_ipv4_address": ue}))
        return tuple(one for one in found if one.ue == ue)

    def rab_info(self, ue: str) -> Any:
        """Radio access bearers of a UE, as the service tells them."""
        return self._get("/queries/rab_info", {"ue_ipv4_address": ue})

    def s1_bearer_info(self, ue: str) -> Any:
        """S1-U bearers of a UE, as the service tells them."""
        return self._get("/queries/s1_bearer_info", {"ue_ipv4_address": ue})

    def plmn_info(self) -> Any:
        """The mobile networks that this application instance (`app`) is associated to, as the service tells them."""
        return self._get("/queries/plmn_info", {})

    def subscribe(self, kind: str, callback: str, ue: str) -> Subscription:
        """Have notifications of a kind (a key of SUBSCRIPTIONS) about a UE posted to `callback`."""
        body, headers = self._ask("POST", "/subscriptions", subscription_body(kind, callback, ue, app=self._app))
        return subscription(body, headers.get("Location"))

    def subscriptions(self, kind: str | None = None) -> tuple[Subscription, ...]:
        """Those that the service holds for this client, all or of one kind."""
        return subscription_list(
            self._get(
                "/subscriptions", {} if kind is None else {"subscription_type": SUBSCRIPTIONS[kind][1]}, app=False
            )
        )

    def renew(self, held: Subscription, callback: str, ue: str) -> None:
        """Put off a subscription's expiry. RnisRefused with status 404 if the service has it no more."""
        self._ask("PUT", self._path(held), subscription_body(held.kind, callback, ue, app=self._app))

    def cancel(self, held: Subscription) -> None:
        """End a subscription; one that the service has no more is as good."""
        try:
            self._ask("DELETE", self._path(held))
        except RnisRefused as refused:
            if refused.status != 404:
                raise

    def _path(self, held: Subscription) -> str:
        return f"/subscriptions/{quote(held.number, safe='')}"

    def _get(self, path: str, query: Mapping[str, str], *, app: bool = True) -> Any:
        named = {"app_ins_id": self._app} if app and self._app is not None else {}
        asked = urlencode({**named, **query})
        return self._ask("GET", f"{path}?{asked}" if asked else path)[0]

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[Any, Mapping[str, str]]:
        """The answer's JSON, None for none, and its headers. RnisError, in one line, for anything but success."""
        where = f"RNIS {self.url}{path}"
        headers = {"Accept": "application/json, application/problem+json"}
        headers |= {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        headers |= {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _json(answer, where), dict(answer.headers)
        except HTTPError as refused:
            with refused:
                raise _refusal(refused, where) from None
        except (URLError, OSError, HTTPException) as fault:
            reason = getattr(fault, "reason", None) or fault
            raise RnisError(f"{where}: no answer ({reason or type(fault).__name__}); check that it runs") from None


def _json(answer: HTTPResponse, where: str) -> Any:
    content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise RnisError(f"{where}: the answer is larger than {MOST_BYTES >> 20} MiB")
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        raise RnisError(f"{where}: the answer is no JSON ({error})") from None


def _refusal(refused: HTTPError, where: str) -> RnisRefused:
    try:
        said = problem(json.loads(refused.read(MOST_BYTES)))
    except (ValueError, OSError, HTTPException):
        said = ""
    message = f"{where}: {refused.code} {said or refused.reason}"
    if refused.code in (429, 503):
        return RnisBusy(message, refused.code, _retry_s(dict(refused.headers)))
    return RnisRefused(message, refused.code)


def _retry_s(headers: Mapping[str, str]) -> float:
    """Retry-After as seconds; a date is taken against the service's own clock."""
    given = headers.get("Retry-After", "")
    if given.isdecimal():
        return min(float(given), MOST_RETRY_S)
    try:
        late = parsedate_to_datetime(given) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return RETRY_S
    return min(max(late.total_seconds(), 0.0), MOST_RETRY_S)
