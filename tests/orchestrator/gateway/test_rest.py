"""The protocol over REST, by plain HTTP: what clients' libraries hide."""

import gzip
import http.client
import json
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest

from nodes.errors import BadInput
from orchestrator.errors import RequestFailed, RequestTimeout, Unavailable
from orchestrator.gateway import http_protocol, rest
from tests.eventually import eventually
from tests.orchestrator.gateway.served import Served

ROW = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}
Said = tuple[int, Any, dict[str, str]]


def ask(served: Served, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Said:
    """Status, body (as JSON where it is) and headers in lower case."""
    connection = http.client.HTTPConnection(served.http, timeout=20)
    given = json.dumps(body).encode() if isinstance(body, dict | list) else body
    try:
        connection.request(method, path, given, headers or {})
        response = connection.getresponse()
        found = response.read()
    finally:
        connection.close()
    told = {name.lower(): value for name, value in response.getheaders()}
    is_json = told.get("content-type") == "application/json" and "content-encoding" not in told
    return response.status, json.loads(found) if is_json else found, told


def infer(served: Served, body: Any, model: str = "float32", headers: dict[str, str] | None = None) -> Said:
    return ask(served, "POST", f"/v2/models/{model}/infer", body, headers)


def test_an_answer_in_json(served: Served) -> None:
    status, body, _ = infer(served, {"id": "7", "inputs": [ROW]})
    output = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}
    assert (status, body) == (200, {"model_name": "float32", "model_version": "2", "id": "7", "outputs": [output]})


def test_a_version_in_the_path_is_the_one_that_answers(served: Served) -> None:
    status, body, _ = ask(served, "POST", "/v2/models/float32/versions/3/infer", {"inputs": [ROW]})
    assert (status, body["model_version"]) == (200, "3")
    assert served.echo.asked == [("float32", 30.0, 3, "")]


def test_binary_tensors_both_ways(served: Served) -> None:
    text = json.dumps(
        {
            "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    raw = struct.pack("<2f", 1.5, -2)
    status, body, headers = infer(served, text + raw, headers={"Inference-Header-Content-Length": str(len(text))})
    head = int(headers["inference-header-content-length"])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    assert json.loads(body[:head])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert body[head:] == raw


def test_packed_bodies_both_ways(served: Served) -> None:
    packed = gzip.compress(json.dumps({"inputs": [ROW]}).encode())
    status, body, headers = infer(served, packed, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert json.loads(gzip.decompress(body))["outputs"][0]["data"] == [1.5, 2.0]


def test_the_timeout_and_the_key_reach_the_router(served: Served) -> None:
    infer(served, {"inputs": [ROW], "parameters": {"timeout": 250_000, "key": "me"}})
    assert served.echo.asked == [("float32", 0.25, None, "me")]


def test_what_the_server_tells_of_itself_and_its_models(served: Served) -> None:
    assert ask(served, "GET", "/v2")[1]["name"] == "isthmus"
    assert ask(served, "GET", "/v2/health/live")[:2] == (200, {"live": True})
    assert ask(served, "GET", "/v2/health/ready")[:2] == (200, {"ready": True})
    assert ask(served, "GET", "/v2/models/pair/versions/3/ready")[:2] == (200, {"name": "pair", "ready": True})
    told = ask(served, "GET", "/v2/models/pair")[1]
    assert (told["versions"], told["inputs"][1]) == (["2", "3"], {"name": "z", "datatype": "INT64", "shape": [1]})
    config = ask(served, "GET", "/v2/models/string/config")[1]
    assert (config["max_batch_size"], config["input"][0]["data_type"]) == (0, "TYPE_STRING")
    index = ask(served, "POST", "/v2/repository/index", {"ready": True})[1]
    assert {"name": "pair", "version": "2", "state": "READY", "reason": ""} in index


def test_a_backend_that_is_down_is_not_ready(served: Served) -> None:
    served.echo.is_up = False
    assert ask(served, "GET", "/v2/health/ready")[:2] == (503, {"ready": False})
    assert ask(served, "GET", "/v2/models/pair/ready")[:2] == (503, {"name": "pair", "ready": False})
    assert ask(served, "POST", "/v2/repository/index", {"ready": True})[1] == []


def test_answers_and_refusals_are_counted(served: Served) -> None:
    before = ask(served, "GET", "/v2/models/int8/stats")[1]["model_stats"][0]
    row = {"name": "x", "shape": [3, 2], "datatype": "INT8", "data": [0] * 6}
    infer(served, {"inputs": [row]}, "int8")
    infer(served, {"inputs": [ROW]}, "int8")
    (after,) = ask(served, "GET", "/v2/models/int8/versions/2/stats")[1]["model_stats"]
    spans = after["inference_stats"]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] == before["execution_count"] + 1
    assert spans["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert spans["fail"]["count"] == before["inference_stats"]["fail"]["count"] + 1
    assert spans["compute_infer"]["ns"] == before["inference_stats"]["compute_infer"]["ns"] + 6_000_000
    assert [batch["batch_size"] for batch in after["batch_stats"]] == [3]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b"[]", 400, "the body: Input should be"),
        ({}, 400, "inputs: Field required"),
        ({"inputs": [ROW | {"shape": [1, 2.5]}]}, 400, "inputs[0].shape[1]: Input should be a valid integer"),
        ({"inputs": [ROW | {"shape": [1, -2]}]}, 400, "inputs[0].shape[1]: Input should be greater than"),
        ({"inputs": [ROW | {"shape": "1"}]}, 400, "inputs[0].shape: Input should be a valid list"),
        ({"inputs": []}, 400, "input 'x' is missing; it takes x: FP32[-1, 2]"),
        ({"inputs": [ROW, ROW]}, 400, "input 'x' is given twice"),
        ({"inputs": [ROW | {"name": "a"}]}, 400, "it has no input 'a'; input 'x' is missing"),
        ({"inputs": [ROW | {"datatype": "FP64"}]}, 400, "input 'x' is FP64, expected FP32"),
        ({"inputs": [ROW | {"shape": [2, 1]}]}, 400, "input 'x' has shape [2, 1], expected [-1, 2]"),
        ({"inputs": [ROW | {"data": [1]}]}, 400, "1 values came, shape [1, 2] has 2"),
        ({"inputs": [{k: v for k, v in ROW.items() if k != "data"}]}, 400, "input 'x' has no data"),
        ({"inputs": [ROW | {"parameters": {"binary_data_size": 8}}]}, 400, "input 'x': it is given twice"),
        ({"inputs": [ROW], "outputs": [{"name": "q"}]}, 400, "model 'float32' has no output 'q'; it gives y"),
        ({"inputs": [ROW], "outputs": [{"name": "y"}, {"name": "y"}]}, 400, "output 'y' is asked for twice"),
        ({"inputs": [ROW], "parameters": {"timeout": -1}}, 400, "parameter timeout: should be microseconds, is -1"),
        (
            {"inputs": [ROW | {"parameters": {"shared_memory_region": "r"}}]},
            400,
            "parameter shared_memory_byte_size: should be a whole number",
        ),
    ],
)
def test_a_body_that_is_not_sound_is_refused(served: Served, body: Any, status: int, said: str) -> None:
    found, told, _ = infer(served, body)
    assert (found, served.echo.asked) == (status, [])
    assert said in told["error"]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Inference-Header-Content-Length": "x"}, "should be a number of bytes, is 'x'"),
        ({"Inference-Header-Content-Length": "9999"}, "Inference-Header-Content-Length is 9999, of a body of"),
        ({"Content-Encoding": "br"}, "Content-Encoding 'br' is not read here"),
        ({"Content-Encoding": "gzip"}, "the body is no gzip"),
    ],
)
def test_headers_that_are_not_sound_are_refused(served: Served, headers: dict[str, str], said: str) -> None:
    found, told, _ = infer(served, {"inputs": [ROW]}, headers=headers)
    assert found in (400, 501)
    assert said in told["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/nobody", 404, "no model 'nobody'; there is bool,"),
        ("GET", "/v2/models/pair/versions/9", 404, "model 'pair' has no version 9; there is 2, 3"),
        ("GET", "/v2/models/pair/versions/two", 400, "'two' is no version's number"),
        ("GET", "/v2/models/pair/versions/²", 400, "is no version's number"),
        ("GET", "/v3", 404, "no path /v3"),
        ("GET", "/v2/models/pair/infer", 405, "GET is not for /v2/models/pair/infer"),
        ("POST", "/v2/repository/models/pair/unload", 501, "this gateway has no repository"),
        ("GET", "/v2/systemsharedmemory/region/r/status", 404, "no shared memory region 'r'"),
    ],
)
def test_what_there_is_not_is_said(served: Served, method: str, path: str, status: int, said: str) -> None:
    found, told, _ = ask(served, method, path.replace("²", "%C2%B2"))
    assert found == status
    assert said in told["error"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("narrow"), 400),
        (RequestFailed("its input", caller_fault=True), 400),
        (RequestFailed("failed 4 times"), 500),
        (RequestTimeout("no answer within 3 s"), 503),
        (Unavailable("it is draining"), 503),
        (ZeroDivisionError("a fault of ours"), 500),
    ],
)
def test_failures_have_their_codes(served: Served, error: Exception, status: int) -> None:
    served.echo.raises = error
    found, told, headers = infer(served, {"inputs": [ROW]})
    assert found == status
    assert str(error) in told["error"]
    assert headers.get("retry-after") == ("1" if status == 503 else None)


def test_a_body_beyond_the_limit_is_refused_packed_or_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.05)
    long = b" " * ((1 << 20) + 1)
    status, told, _ = infer(served, long)
    assert (status, told["error"]) == (
        413,
        "the body is too long: 1,048,577 bytes are more than 1,048,576, the most here",
    )
    assert infer(served, gzip.compress(long), headers={"Content-Encoding": "gzip"})[0] == 413
    server = served.doors._http_server
    assert server is not None
    eventually(lambda: not server.server_state.connections, what="the connections are gone")


def test_a_body_in_chunks_is_read_no_further_than_the_limit(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.05)
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with raw(served) as connection:
        connection.sendall(b"POST /v2/models/float32/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(17):
            connection.sendall(chunk)
        assert b" 413 " in connection.recv(1 << 16).splitlines()[0]
        assert ended(connection)


def test_a_body_that_is_told_to_be_too_long_is_refused_before_it_comes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.05)
    with raw(served) as connection:
        connection.sendall(b"POST /v2/models/float32/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in connection.recv(1 << 16).splitlines()[0]
        assert ended(connection)


def test_nobody_works_for_a_client_that_has_gone(served: Served) -> None:
    connection = http.client.HTTPConnection(served.http, timeout=20)
    connection.request("POST", "/v2/models/slow/infer", json.dumps({"inputs": [ROW]}))
    eventually(lambda: len(served.echo.asked) == 1, what="the request arrives")
    connection.close()
    eventually(lambda: served.echo.cancelled == 1, what="it is cancelled")


def test_answers_are_not_held_back(served: Served) -> None:
    """Head and body are two writes: with Nagle's algorithm on, the body waits for the client's delayed word, 40 ms."""
    connection = http.client.HTTPConnection(served.http, timeout=20)
    connection.request("GET", "/v2")
    connection.getresponse().read()
    server = served.doors._http_server
    assert server is not None
    (held,) = server.server_state.connections
    assert held.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    connection.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v2/models/float32/infer HTT",
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nX: ",
    ],
)
def test_whoever_never_ends_a_head_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.05)
    with raw(served) as connection:
        connection.sendall(sent)
        assert ended(connection)


def test_whoever_never_ends_a_body_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BODY_S", 0.05)
    with raw(served) as connection:
        connection.sendall(b"POST /v2/models/float32/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b" 400 " in connection.recv(1 << 16).splitlines()[0]


def test_a_head_without_end_is_not_kept(served: Served) -> None:
    with raw(served) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        with suppress(OSError):
            for number in range(1000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))
        assert ended(connection)


@pytest.mark.parametrize("line", [b"GET /\xff HTTP/1.1", b"GET /%FF HTTP/1.1", b"GET //[ HTTP/1.1", b"\0\1\2"])
def test_lines_that_are_no_http_end_their_connection_only(served: Served, line: bytes) -> None:
    with raw(served) as connection:
        connection.sendall(line + b"\r\nHost: x\r\n\r\n")
        answer = connection.recv(1 << 16)
        assert not answer or b" 4" in answer.splitlines()[0]
    assert ask(served, "GET", "/v2")[0] == 200


def test_one_header_without_end_is_not_kept(served: Served) -> None:
    with raw(served) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nX: ")
        with suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"y" * 1000)
        assert ended(connection)


def test_a_connection_between_requests_is_not_held_by_empty_lines(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.1)
    with raw(served) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(1 << 16).splitlines()[0]
        connection.sendall(b"\r\n")
        assert ended(connection)


def test_a_body_that_was_answered_before_its_end_is_not_read_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.05)
    with raw(served) as connection:
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nx")
        assert b" 404 " in connection.recv(1 << 16).splitlines()[0]
        with suppress(OSError):
            connection.sendall(b"x")
        assert ended(connection)


def test_trailers_without_end_are_not_kept(served: Served) -> None:
    with raw(served) as connection:
        head = b"POST /v2/models/float32/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        connection.sendall(head)
        with suppress(OSError):
            for number in range(1000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))
        assert ended(connection)


def test_who_does_not_read_an_answer_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "STALL_S", 0.1)
    values = [0.5] * 100_000
    body = json.dumps({"inputs": [ROW | {"shape": [50_000, 2], "data": values}]}).encode()
    with raw(served) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(8):  # more than the sockets hold
            head = f"POST /v2/models/float32/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            try:
                connection.sendall(head.encode() + body)
            except OSError:
                break
        server = served.doors._http_server
        assert server is not None
        eventually(lambda: not server.server_state.connections, what="the connection is gone")


def test_packed_bodies_end_where_they_should(served: Served) -> None:
    packed = gzip.compress(json.dumps({"inputs": [ROW]}).encode())
    for body in (packed[:-4], packed + b"more"):
        status, told, _ = infer(served, body, headers={"Content-Encoding": "gzip"})
        assert (status, "ends too early or too late" in told["error"]) == (400, True)


def test_null_is_as_good_as_nothing(served: Served) -> None:
    assert infer(served, {"inputs": [ROW | {"parameters": None}], "outputs": None, "parameters": None})[0] == 200


def raw(served: Served) -> socket.socket:
    """A connection, by its bytes."""
    host, port = served.http.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def ended(connection: socket.socket) -> bool:
    """Whether the other end closes it, after whatever it still says."""
    try:
        while connection.recv(1 << 16):
            continue
    except ConnectionError:
        return True
    return True


def test_half_precision_goes_as_a_list_too(served: Served) -> None:
    row = {"name": "x", "shape": [1, 2], "datatype": "FP16", "data": [1.5, 2]}
    assert infer(served, {"inputs": [row]}, "float16")[1]["outputs"][0]["data"] == [1.5, 2.0]
