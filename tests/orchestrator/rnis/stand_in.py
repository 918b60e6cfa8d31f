"""A stand-in for a MEC platform's RNIS: it speaks the standard's paths, and notes and checks what it is asked."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

UE = "10.45.0.2"
Answer = tuple[int, Any, dict[str, str]]


def measured(up_kbit_s: float = 8000, down_kbit_s: float = 40000, **more: Any) -> dict[str, Any]:
    """An L2Meas body about the UE: 8 and 40 Mbps, 12 and 7 ms."""
    cell = {"plmn": {"mcc": "001", "mnc": "01"}, "cellId": "800000A"}
    info = {
        "associateId": [{"type": 1, "value": UE}],
        "ecgi": cell,
        "ul_nongbr_throughput_ue": up_kbit_s,
        "dl_nongbr_throughput_ue": down_kbit_s,
        "ul_nongbr_delay_ue": 12,
        "dl_nongbr_delay_ue": 7,
        "ul_nongbr_pdr_ue": 0,
        "dl_nongbr_pdr_ue": 0,
    }
    return {"timeStamp": {"seconds": 1577836800, "nanoSeconds": 0}, "cellUEInfo": [info | more]}


@dataclass
class StandIn:
    """The service. `fails` with an answer of one's own, or raw bytes, as long as it is set."""

    body: dict[str, Any] = field(default_factory=measured)
    fails: Answer | bytes | None = None
    refuses_subscriptions: bool = False
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""
    made: int = 0

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        """What the standard wants: 200, 201, 204, 400 and 404."""
        match method, path.removeprefix("/rni/v2").strip("/").split("/"):
            case "GET", ["queries", name]:
                return self._query(name, query)
            case "GET", ["subscriptions"]:
                return 200, self._links(query.get("subscription_type", [""])[0]), {}
            case "POST", ["subscriptions"]:
                return self._subscribe(body)
            case (("PUT" | "DELETE"), ["subscriptions", number]) if number in self.held:
                return self._change(method, number, body)
        return 404, {"title": "Not Found", "detail": f"no {path}"}, {}

    def _query(self, name: str, query: dict[str, list[str]]) -> Answer:
        if name == "layer2_meas":
            known = UE in query.get("ue_ipv4_address", [UE])
            return 200, self.body if known else {"cellUEInfo": []}, {}
        if name == "plmn_info" and "app_ins_id" not in query:
            return 400, {"title": "Bad Request", "detail": "app_ins_id is missing"}, {}
        return 200, {"requestId": "1", "asked": name}, {}

    def _links(self, kind: str) -> dict[str, Any]:
        entries = [
            {"href": f"{self.url}/rni/v2/subscriptions/{number}", "subscriptionType": held["subscriptionType"]}
            for number, held in self.held.items()
            if held["subscriptionType"].lower().startswith(kind.replace("_", ""))
        ]
        return {"_links": {"self": {"href": f"{self.url}/rni/v2/subscriptions"}, "subscription": entries}}

    def _subscribe(self, body: Any) -> Answer:
        wanted = {"RabEstSubscription": {"qci"}, "RabRelSubscription": {"qci", "erabId"}}
        criteria = next((value for key, value in body.items() if key.startswith("filterCriteria")), None)
        missing = wanted.get(body["subscriptionType"], set()) - set(criteria or {})
        if self.refuses_subscriptions or criteria is None or missing or "callbackReference" not in body:
            return 400, {"title": "Bad Request", "detail": f"missing {missing}"}, {}
        self.made += 1
        number = f"sub{self.made}"
        where = f"{self.url}/rni/v2/subscriptions/{number}"
        self.held[number] = body | {"_links": {"self": {"href": where}}}
        return 201, self.held[number], {"Location": where}

    def _change(self, method: str, number: str, body: Any) -> Answer:
        if method == "DELETE":
            del self.held[number]
            return 204, None, {}
        self.held[number] |= body
        return 200, self.held[number], {}

    def notify(self, kind: str, **more: Any) -> int:
        """Post a notification to whoever subscribed to that kind; the status that it was answered with."""
        (held,) = [held for held in self.held.values() if held["subscriptionType"] == f"{kind}Subscription"]
        plain = {"notificationType": f"{kind}Notification", "associateId": [{"type": 1, "value": UE}]}
        return post(held["callbackReference"], plain | more)

    def expire(self, kind: str, *, forget: bool) -> int:
        """Tell that a subscription is about to expire, or that it has, which is then gone."""
        ((number, held),) = [one for one in self.held.items() if one[1]["subscriptionType"] == f"{kind}Subscription"]
        if forget:
            del self.held[number]
        link = {"subscription": {"href": f"{self.url}/rni/v2/subscriptions/{number}"}}
        deadline = {"seconds": 1577836860, "nanoSeconds": 0}
        told = {"notificationType": "ExpiryNotification", "_links": link, "expiryDeadline": deadline}
        return post(held["callbackReference"], told)


def post(url: str, body: Any, *, raw: bytes | None = None) -> int:
    """The status that a POST is answered with."""
    data = json.dumps(body).encode() if raw is None else raw
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"}, method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The service, listening on loopback."""
    service = StandIn()

    class Connection(_Connection):
        of = service

    server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Connection(BaseHTTPRequestHandler):
    of: StandIn

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.of.asked.append((self.command, parts.path, query))
        self.of.tokens.append(self.headers.get("Authorization"))
        if isinstance(self.of.fails, bytes):
            self._send(200, self.of.fails, {})
            return
        status, plain, headers = self.of.fails or self.of.answer(self.command, parts.path, query, body)
        self._send(status, b"" if plain is None else json.dumps(plain).encode(), headers)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
