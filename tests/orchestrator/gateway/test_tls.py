"""A gateway's doors under TLS, and under mutual TLS: gRPC, REST and figures."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from orchestrator.gateway.messages import SERVICE, message
from tests.nodes.certified import certified, identity
from tests.orchestrator.gateway.served import Served
from tests.orchestrator.gateway.test_foreign import HERE, TRITON, UV, environment, run
from tests.orchestrator.gateway.test_limits import asking
from tests.orchestrator.gateway.test_rest import ROW

pytestmark = pytest.mark.slow
pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    certified(folder / "ours", "gateway", "camera")
    certified(folder / "ours", "old", ago_days=5)
    certified(folder / "theirs", "thief")
    return folder


@pytest.fixture(scope="module")
def secured(pki: Path) -> Iterator[Served]:
    """Under TLS; clients show nothing."""
    served = Served(tls=replace(identity(pki / "ours/gateway"), ca=None), metrics="127.0.0.1:0")
    yield served
    served.close()


@pytest.fixture(scope="module")
def mutual(pki: Path) -> Iterator[Served]:
    served = Served(tls=identity(pki / "ours/gateway"), metrics="127.0.0.1:0")
    yield served
    served.close()


def context_of(pki: Path, shown: str | None = None, *, ca: str = "ours") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pki / ca / "ca.pem")
    if shown is not None:
        context.load_cert_chain(pki / shown / "cert.pem", pki / shown / "key.pem")
    return context


def asked(address: str, context: ssl.SSLContext, path: str = "/v2/models/float32/infer", body: Any = None) -> Any:
    connection = http.client.HTTPSConnection(address, timeout=20, context=context)
    try:
        given = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, given)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def inferred(address: str, pki: Path, shown: str | None = None) -> Any:
    pair = () if shown is None else [(pki / shown / file).read_bytes() for file in ("key.pem", "cert.pem")]
    credentials = grpc.ssl_channel_credentials((pki / "ours/ca.pem").read_bytes(), *pair)
    with grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = channel.unary_unary(f"/{SERVICE}/ModelInfer")(asking(), timeout=20)
    return message("ModelInferResponse").FromString(answer).model_name


def test_all_doors_answer_under_tls(secured: Served, pki: Path) -> None:
    context = context_of(pki)
    assert asked(secured.http, context, body={"inputs": [ROW]})[0] == 200
    assert inferred(secured.grpc, pki) == "float32"
    status, page = asked(f"127.0.0.1:{secured.doors.metrics}", context, "/metrics")
    assert (status, b"isthmus_gateway_" in page) == (200, True)


def test_with_a_client_ca_only_holders_of_its_certificates_are_answered(mutual: Served, pki: Path) -> None:
    metrics = f"127.0.0.1:{mutual.doors.metrics}"
    assert asked(mutual.http, context_of(pki, "ours/camera"), body={"inputs": [ROW]})[0] == 200
    assert asked(metrics, context_of(pki, "ours/camera"), "/metrics")[0] == 200
    assert inferred(mutual.grpc, pki, "ours/camera") == "float32"
    for shown in (None, "ours/old", "theirs/thief"):
        for address in (mutual.http, metrics):
            with pytest.raises(OSError, match=r"(?i)alert|reset|EOF|closed"):
                asked(address, context_of(pki, shown), "/metrics")
        with pytest.raises(grpc.RpcError) as refused:
            inferred(mutual.grpc, pki, shown)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_client_that_believes_another_ca_goes_away(secured: Served, pki: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        asked(secured.http, context_of(pki, ca="theirs"), "/v2")
    assert asked(secured.http, context_of(pki), "/v2")[0] == 200


def test_plain_text_at_a_tls_port_is_let_go(secured: Served) -> None:
    for port in (secured.doors.grpc, secured.doors.http, secured.doors.metrics):
        with socket.create_connection(("127.0.0.1", port or 0), 20) as plain:
            plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                assert b"HTTP/1.1 2" not in plain.recv(4096)
            except ConnectionResetError:
                continue


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    certified(tmp_path, "gateway")
    served = Served(tls=replace(identity(tmp_path / "gateway"), ca=None))
    try:
        before = [shown(port) for port in (served.doors.grpc, served.doors.http)]
        certified(tmp_path, "gateway", renew=True)
        assert set(before).isdisjoint(shown(port) for port in (served.doors.grpc, served.doors.http))
    finally:
        served.close()


def shown(port: int | None) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", port or 0), 20) as plain, context.wrap_socket(plain) as secured:
        return secured.getpeercert(binary_form=True)


@pytest.mark.skipif(UV is None, reason="uv is not installed (make setup brings it)")
def test_tritonclient_is_served_under_mutual_tls(mutual: Served, pki: Path) -> None:
    python = environment(TRITON) / "bin/python"
    run(python, HERE / "foreign_tls.py", mutual.grpc, mutual.http, pki / "ours/camera")
