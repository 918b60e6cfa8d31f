"""Tokens: who may ask which model, and change what runs; and where a gateway may listen without any."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from nodes.errors import NodesError, NotAuthorised
from orchestrator.errors import SpecError
from orchestrator.gateway.doors import Listen
from orchestrator.gateway.grpc_service import OPEN
from orchestrator.gateway.messages import SERVICE, message, rpcs
from orchestrator.gateway.permits import Permits, read_permits
from tests.orchestrator.gateway.served import Served
from tests.orchestrator.gateway.test_rest import ROW, ask

TOKENS = """
tokens:
  - {{name: narrow, sha256: {narrow}, models: [float32]}}
  - {{name: wide, sha256: {wide}, loads: true}}
"""


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(TOKENS.format(narrow=digest("n-secret"), wide=digest("w-secret")))
    return path


@pytest.fixture
def guarded(file: Path) -> Iterator[Served]:
    served = Served(permits=read_permits(file))
    yield served
    served.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status(served: Served, method: str, path: str, token: str | None, body: Any = None) -> int:
    return ask(served, method, path, body, {} if token is None else bearer(token))[0]


def test_rest_asks_for_a_token_and_tells_what_it_opens(guarded: Served) -> None:
    body = {"inputs": [ROW]}
    for path in ("/v2", "/v2/health/live", "/v2/health/ready"):
        assert status(guarded, "GET", path, None) == 200
    at = "/v2/models/{}/infer"
    assert status(guarded, "POST", at.format("float32"), None, body) == 401
    assert status(guarded, "POST", at.format("float32"), "guessed", body) == 401
    assert status(guarded, "POST", at.format("float32"), "n-secret", body) == 200
    assert status(guarded, "POST", at.format("float64"), "n-secret", body) == 403
    assert status(guarded, "POST", at.format("nobody"), "n-secret", body) == 403  # it is not told what there is
    assert status(guarded, "POST", at.format("nobody"), "w-secret", body) == 404
    for tail in ("", "/ready", "/config", "/stats", "/versions/2"):
        assert status(guarded, "GET", f"/v2/models/float64{tail}", "n-secret") == 403
        assert status(guarded, "GET", f"/v2/models/float32{tail}", "n-secret") == 200
    assert (
        status(guarded, "POST", "/v2/systemsharedmemory/region/r/register", None, {"key": "k", "byte_size": 1}) == 401
    )
    refused = ask(guarded, "GET", "/v2/models/float32")
    assert refused[1] == {"error": "a token is needed: send Authorization: Bearer TOKEN"}
    assert refused[2]["www-authenticate"] == "Bearer"


def test_lists_hold_what_is_open_only(guarded: Served) -> None:
    index = ask(guarded, "POST", "/v2/repository/index", {}, bearer("n-secret"))[1]
    assert [one["name"] for one in index] == ["float32"]
    stats = ask(guarded, "GET", "/v2/models/stats", None, bearer("n-secret"))[1]["model_stats"]
    assert {one["name"] for one in stats} == {"float32"}
    assert len(ask(guarded, "POST", "/v2/repository/index", {}, bearer("w-secret"))[1]) > 10


def test_loading_takes_a_token_that_may(guarded: Served) -> None:
    path = "/v2/repository/models/float32/{}"
    for verb in ("load", "unload"):
        assert status(guarded, "POST", path.format(verb), "n-secret", {}) == 403
        assert status(guarded, "POST", path.format(verb), "w-secret", {}) == 501  # it may, were there a repository


def test_grpc_asks_likewise(guarded: Served) -> None:
    def code(name: str, token: str | None, request: Any = None) -> str:
        (rpc,) = [rpc for rpc in rpcs() if rpc.name == name]
        metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        data = (message(f"{name}Request")() if request is None else request).SerializeToString()
        try:
            if rpc.streams:
                list(channel.stream_stream(f"/{SERVICE}/{name}")(iter([data]), timeout=20, metadata=metadata))
            else:
                channel.unary_unary(f"/{SERVICE}/{name}")(data, timeout=20, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    asking = message("ModelInferRequest")(model_name="float32", raw_input_contents=[bytes(8)])
    asking.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    with grpc.insecure_channel(guarded.grpc) as channel:
        for name in OPEN:
            assert code(name, None) == "OK"
        guarding = [rpc.name for rpc in rpcs() if rpc.name not in OPEN and not rpc.streams]
        assert {code(name, None, asking if name == "ModelInfer" else None) for name in guarding} == {"UNAUTHENTICATED"}
        assert code("ModelStreamInfer", None, asking) == "UNAUTHENTICATED"
        assert code("ModelInfer", "n-secret", asking) == "OK"
        asking.model_name = "float64"
        assert code("ModelInfer", "n-secret", asking) == "PERMISSION_DENIED"
        ready = message("ModelReadyRequest")(name="float64")
        assert code("ModelReady", "n-secret", ready) == "PERMISSION_DENIED"


def test_listening_beyond_this_machine_takes_tokens(file: Path) -> None:
    with pytest.raises(NotAuthorised, match=r"listening on 0\.0\.0\.0 lets others in; give a token with --tokens FILE"):
        Listen(http="0.0.0.0:0")
    with pytest.raises(NodesError, match="--http '8000' is not host:port"):
        Listen(http="8000")
    with pytest.raises(NodesError, match="--metrics ':8002' is not host:port"):
        Listen(metrics=":8002")
    Listen(http="0.0.0.0:0", permits=read_permits(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tokens: []", "tokens: List should have at least 1 item"),
        ("tokens: [{name: a}]", "tokens[0].sha256: is missing"),
        ("tokens: [{name: a, sha256: secret}]", "tokens[0].sha256"),
        (f"tokens: [{{name: a, sha256: {digest('x')}, model: [b]}}]", "tokens[0].model: unknown key"),
        (
            json.dumps({"tokens": [{"name": name, "sha256": digest("x")} for name in ("a", "b")]}),
            "tokens[1].sha256: is that of 'a' too",
        ),
    ],
)
def test_a_file_that_is_not_sound_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as refused:
        read_permits(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_without_tokens_everybody_may_do_everything() -> None:
    permit = Permits().of(None)
    permit.check_loads("any")
    assert permit.opens("any")
