"""The Prometheus endpoint: what it serves, and that its start waits for no name server."""

import socket
import threading
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from nodes.errors import NodesError
from nodes.metrics_endpoint import Endpoint


def registry() -> CollectorRegistry:
    held = CollectorRegistry()
    Counter("cuts", "Cuts made", registry=held).inc(3)
    return held


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")])
def test_a_registry_is_served_over_both_kinds_of_address(host: str, shown: str) -> None:
    endpoint = Endpoint(host, 0, registry())
    try:
        with urllib.request.urlopen(f"http://{shown}:{endpoint.port}/metrics", timeout=5) as answer:
            assert "cuts_total 3.0" in answer.read().decode()
    finally:
        endpoint.close()
    assert "metrics" not in [thread.name for thread in threading.enumerate()]


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("a name server was asked")

    for name in ("getfqdn", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(socket, name, asked)
    Endpoint("127.0.0.1", 0, registry()).close()


def test_a_port_in_use_is_named() -> None:
    endpoint = Endpoint("127.0.0.1", 0, registry())
    try:
        with pytest.raises(NodesError, match=f"metrics can't listen on 127.0.0.1:{endpoint.port}: Address already"):
            Endpoint("127.0.0.1", endpoint.port, registry())
    finally:
        endpoint.close()
