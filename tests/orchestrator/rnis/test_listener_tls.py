"""Notifications under TLS, from a service that is itself asked under TLS."""

import ssl
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest

from nodes.tls import VARIABLE
from orchestrator.rnis.messages import RnisError
from orchestrator.rnis.source import _listener
from tests.nodes.certified import certified

pytest.importorskip("cryptography")


def test_the_callback_is_under_tls_where_the_service_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certified(tmp_path, "edge")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "edge"))
    for secure, scheme in ((True, "https://"), (False, "http://")):
        listener = _listener("127.0.0.1:0", lambda _: None, secure=secure)
        assert listener is not None
        try:
            assert listener.callback.startswith(scheme)
            handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=tmp_path / "ca.pem"))
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
            with pytest.raises(HTTPError) as refused:  # no notification, but it was read
                opener.open(listener.callback, data=b"{}", timeout=20)
            assert refused.value.code == 400
            refused.value.close()
        finally:
            listener.close()
    (tmp_path / "edge/cert.pem").write_text("nonsense")
    with pytest.raises(RnisError, match=r"callback 127\.0\.0\.1:0: .*cert\.pem: no certificate"):
        _listener("127.0.0.1:0", lambda _: None, secure=True)
