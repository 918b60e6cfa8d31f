"""What one client may take: the gate by itself, under a clock of its own, and before a gateway's doors."""

import http.client
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from orchestrator.gateway.faults import Fault, Refused
from orchestrator.gateway.grpc_service import address_of
from orchestrator.gateway.limits import MANY, Gate, Limits
from orchestrator.gateway.messages import SERVICE, message
from orchestrator.gateway.permits import read_permits
from tests.eventually import eventually
from tests.orchestrator.gateway.served import Served
from tests.orchestrator.gateway.test_rest import ROW, ask, infer

NONE = Limits()


def once(gate: Gate, now_s: float, *, token: str = "", address: str = "a", own: Limits = NONE) -> None:
    with gate.request(token, address, own, now_s):
        pass


def beyond(gate: Gate, now_s: float, **who: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        once(gate, now_s, **who)
    assert refused.value.fault is Fault.TOO_MANY
    return refused.value


def test_a_client_sends_at_its_rate_and_a_second_s_worth_at_once() -> None:
    gate = Gate(limits=Limits(rate_per_s=4))
    for _ in range(4):
        once(gate, 10.0)
    refused = beyond(gate, 10.0)
    assert str(refused) == "more than 4 requests a second, which is the most for your address"
    assert refused.retry_s == pytest.approx(0.25)
    once(gate, 10.25)
    beyond(gate, 10.26)
    once(gate, 10.0, address="b")  # another's affairs


def test_a_rate_below_one_lets_single_requests_through() -> None:
    gate = Gate(limits=Limits(rate_per_s=0.1))
    once(gate, 0.0)
    assert beyond(gate, 5.0).retry_s == pytest.approx(5.0)
    once(gate, 10.1)


def test_a_token_has_its_own_limits_wherever_it_comes_from() -> None:
    gate = Gate(limits=Limits(rate_per_s=1, requests=1))
    own = Limits(rate_per_s=2)
    once(gate, 0.0, token="t", address="a", own=own)
    once(gate, 0.0, token="t", address="b", own=own)
    assert "token 't'" in str(beyond(gate, 0.0, token="t", address="c", own=own))
    with gate.request("u", "a", own, 0.0):
        assert "1 requests are under way" in str(beyond(gate, 0.0, token="u", own=own))  # not named, so the default
    assert gate.refused == {("t", "rate"): 1, ("u", "requests"): 1}


def test_requests_and_streams_under_way_are_given_back_however_they_end() -> None:
    gate = Gate(limits=Limits(requests=2, streams=1))
    with pytest.raises(KeyError), gate.request("", "a", NONE, 0.0), gate.stream("", "a", NONE, 0.0):
        with pytest.raises(Refused), gate.stream("", "a", NONE, 0.0):
            raise AssertionError("a second stream")
        raise KeyError
    with gate.request("", "a", NONE, 0.0), gate.request("", "a", NONE, 0.0), gate.stream("", "a", NONE, 0.0):
        beyond(gate, 0.0)


def test_bodies_are_bounded_together() -> None:
    gate = Gate(most_bytes=10)
    gate.hold(6)
    with pytest.raises(Refused) as refused:
        gate.hold(5)
    assert (refused.value.fault, gate.under_way_bytes) == (Fault.UNAVAILABLE, 6)
    gate.hold(4)
    gate.release(10)
    gate.hold(10)


def test_clients_that_are_quiet_are_forgotten() -> None:
    gate = Gate(limits=Limits(rate_per_s=5))
    for number in range(3 * MANY):
        once(gate, number * 1e-2, address=str(number))
    assert len(gate._clients) <= MANY + 200


def test_without_limits_nobody_is_remembered() -> None:
    gate = Gate()
    once(gate, 0.0)
    assert not gate._clients


@pytest.mark.parametrize(
    ("peer", "address"),
    [("ipv4:10.0.0.1:5000", "10.0.0.1"), ("ipv6:[::1]:5000", "::1"), ("ipv6:%5B::1%5D:5000", "::1")],
)
def test_a_peer_is_known_by_its_address_whatever_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


@pytest.fixture
def tight() -> Iterator[Served]:
    served = Served(limits=Limits(rate_per_s=0.5), metrics="127.0.0.1:0")
    yield served
    served.close()


def asking(model: str = "float32") -> bytes:
    request = message("ModelInferRequest")(model_name=model, raw_input_contents=[struct.pack("<2f", 1, 2)])
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    return bytes(request.SerializeToString())


def test_a_rate_is_told_over_rest_with_when_to_come_again(tight: Served) -> None:
    assert infer(tight, {"inputs": [ROW]})[0] == 200
    status, body, headers = infer(tight, {"inputs": [ROW]})
    assert (status, headers["retry-after"]) == (429, "2")
    assert body == {"error": "more than 0.5 requests a second, which is the most for your address"}
    assert ask(tight, "GET", "/v2/health/ready")[0] == 200  # whoever looks whether it is there always may
    page = page_of(tight)
    assert 'isthmus_gateway_limited_total{client="",limit="rate"} 1.0' in page
    assert "isthmus_gateway_held_bytes 0.0" in page


def test_where_a_request_comes_from_is_not_for_its_client_to_say(tight: Served) -> None:
    told = [infer(tight, {"inputs": [ROW]}, headers={"X-Forwarded-For": f"9.9.9.{n}"})[0] for n in range(2)]
    assert told == [200, 429]


def test_whoever_guesses_tokens_at_the_health_service_is_held_to_the_rate_too(tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens: [{{name: one, sha256: {sha256(b'right').hexdigest()}}}]")
    served = Served(permits=read_permits(tokens), limits=Limits(rate_per_s=0.5))
    try:
        with grpc.insecure_channel(served.grpc) as channel:
            health, codes = health_pb2_grpc.HealthStub(channel), []
            for guess in ("wrong", "worse"):
                with pytest.raises(grpc.RpcError) as refused:
                    about = [("authorization", f"Bearer {guess}")]
                    health.Check(health_pb2.HealthCheckRequest(service="pair"), metadata=about, timeout=20)
                codes.append(refused.value.code())
    finally:
        served.close()
    assert codes == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED]


def page_of(served: Served) -> str:
    connection = http.client.HTTPConnection(f"127.0.0.1:{served.doors.metrics}", timeout=20)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return page


def test_a_rate_is_told_over_grpc_with_a_pushback(tight: Served) -> None:
    with grpc.insecure_channel(tight.grpc) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        call(asking(), timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            call(asking(), timeout=20)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback = dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"]
    assert 1000 < int(pushback) <= 2000


def test_in_a_stream_each_request_counts(tight: Served) -> None:
    with grpc.insecure_channel(tight.grpc) as channel:
        answers = list(channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(iter([asking()] * 2), timeout=20))
    told = [message("ModelStreamInferResponse").FromString(answer).error_message for answer in answers]
    assert told == ["", "more than 0.5 requests a second, which is the most for your address"]


def test_tokens_carry_their_limits(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    digest = [sha256(token.encode()).hexdigest() for token in ("one", "any")]
    tokens.write_text(
        f"tokens: [{{name: one, sha256: {digest[0]}, requests: 1, streams: 1}}, {{name: any, sha256: {digest[1]}}}]"
    )
    served = Served(permits=read_permits(tokens))
    try:
        one, other = ({"Authorization": f"Bearer {token}"} for token in ("one", "any"))
        slow = threading.Thread(target=infer, args=(served, {"inputs": [ROW]}, "slow", one))
        slow.start()
        eventually(lambda: served.echo.asked)
        status, body, _ = infer(served, {"inputs": [ROW]}, headers=one)
        assert (status, body["error"]) == (429, "1 requests are under way, which is the most for token 'one'")
        assert infer(served, {"inputs": [ROW]}, headers=other)[0] == 200
        served.do(let_go(served))
        slow.join(20)
        assert infer(served, {"inputs": [ROW]}, headers=one)[0] == 200
        assert two_streams(served, "one") is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert two_streams(served, "any") == 1
    finally:
        served.close()


def test_whoever_guesses_tokens_is_held_to_the_rate_of_an_address(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens: [{{name: one, sha256: {sha256(b'one').hexdigest()}, rate: 100}}]")
    served = Served(permits=read_permits(tokens), limits=Limits(rate_per_s=1))
    try:
        for status in (401, 429, 429):
            assert infer(served, {"inputs": [ROW]}, headers={"Authorization": "Bearer guess"})[0] == status
        assert infer(served, {"inputs": [ROW]}, headers={"Authorization": "Bearer one"})[0] == 200
    finally:
        served.close()


async def let_go(served: Served) -> None:
    served.echo.let_go.set()


def two_streams(served: Served, token: str) -> Any:
    """What the second of two at once gets: so many answers, or a code."""
    ended = threading.Event()

    def requests() -> Iterator[bytes]:
        yield asking()
        ended.wait(20)

    metadata = [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(served.grpc) as channel:
        open_stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        first = open_stream(requests(), timeout=20, metadata=metadata)
        next(first)
        second = open_stream(iter([asking()]), timeout=20, metadata=metadata)
        try:
            return len(list(second))
        except grpc.RpcError as refused:
            return refused.code()
        finally:
            ended.set()
            list(first)


def test_all_bodies_together_have_room_for_so_much() -> None:
    served = Served(most_held_bytes=4000)
    try:
        first = http.client.HTTPConnection(served.http, timeout=20)
        first.putrequest("POST", "/v2/models/float32/infer")
        first.putheader("Content-Length", "3000")
        first.endheaders(b" " * 2500)
        eventually(lambda: served.doors.gate.under_way_bytes == 2500)
        large = json.dumps({"inputs": [ROW], "parameters": {"x": "y" * 2000}}).encode()
        status, body, headers = infer(served, large)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "4,000 bytes of requests are under way here, which is the most" in body["error"]
        first.close()
        eventually(lambda: served.doors.gate.under_way_bytes == 0)
        assert infer(served, large)[0] == 200
        assert served.doors.gate.under_way_bytes == 0
        with grpc.insecure_channel(served.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"/{SERVICE}/ModelInfer")(bytes(5000), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        served.close()


def test_an_address_opens_so_many_connections_and_is_let_in_again() -> None:
    served = Served(most_connections=2)
    try:
        with ExitStack() as held:
            for _ in range(2):
                connection = http.client.HTTPConnection(served.http, timeout=20)
                held.callback(connection.close)
                connection.request("GET", "/v2")
                assert connection.getresponse().read()
            status, body, _ = ask(served, "GET", "/v2")
            assert (status, body) == (503, {"error": "too many connections are open from your address"})
        eventually(lambda: not served.doors.gate._connections["127.0.0.1"])
        assert ask(served, "GET", "/v2")[0] == 200
    finally:
        served.close()
