"""Whatever clients send, they are told what is wrong with it: no crash, no hang, no fault of the server's."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.gateway.datatypes import DTYPE_OF
from orchestrator.gateway.messages import SERVICE, message, rpcs
from tests.orchestrator.gateway.served import DTYPES, Served

pytestmark = pytest.mark.slow
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(["x", "y", "z", "", "é"])
MODELS = st.sampled_from([*DTYPES, "pair", "nobody"])
DATATYPES = st.sampled_from([*DTYPE_OF, "FP31", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
KEYS = (
    *("binary_data_size", "binary_data", "binary_data_output", "timeout", "key", "classification"),
    *("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"),
)
PARAMETERS = st.dictionaries(
    st.sampled_from(KEYS),
    st.integers(-(1 << 62), 1 << 62) | st.text(max_size=3) | st.booleans() | st.floats(),
    max_size=3,
)
SHAPES = st.lists(st.integers(-2, 4) | st.integers(), max_size=4)
INPUT = st.fixed_dictionaries(
    {"name": NAMES, "shape": SHAPES | VALUES, "datatype": DATATYPES | VALUES},
    optional={"data": VALUES, "parameters": PARAMETERS | VALUES},
)
BODY = st.fixed_dictionaries(
    {"inputs": st.lists(INPUT, max_size=3) | VALUES},
    optional={
        "id": st.text(max_size=3) | VALUES,
        "outputs": st.lists(st.fixed_dictionaries({"name": NAMES}, optional={"parameters": PARAMETERS}), max_size=2),
        "parameters": PARAMETERS,
    },
)
FINE = (200, 400, 404, 501, 503)


@pytest.fixture(scope="module")
def rest(held: Served) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(held.http, timeout=20)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def channel(held: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(held.grpc) as opened:
        yield opened


def told(rest: http.client.HTTPConnection, model: str, body: bytes, headers: dict[str, str]) -> int:
    rest.request("POST", f"/v2/models/{model}/infer", body, headers)
    response = rest.getresponse()
    said = response.read()
    if response.status != 200:
        assert json.loads(said)["error"]
    return response.status


@MANY
@given(model=MODELS, body=BODY)
def test_any_json(rest: http.client.HTTPConnection, model: str, body: Any) -> None:
    assert told(rest, model, json.dumps(body).encode(), {}) in FINE


@MANY
@given(body=st.binary(max_size=200), length=st.integers(0, 300) | st.text("0123456789-x", max_size=4))
def test_any_bytes(rest: http.client.HTTPConnection, body: bytes, length: int | str) -> None:
    assert told(rest, "float32", body, {"Inference-Header-Content-Length": str(length)}) == 400


@MANY
@given(body=st.binary(max_size=200), encoding=st.sampled_from(["gzip", "deflate", "br", "identity"]))
def test_any_packed_bytes(rest: http.client.HTTPConnection, body: bytes, encoding: str) -> None:
    assert told(rest, "float32", body, {"Content-Encoding": encoding}) in (400, 501)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    """Messages of sound types with anything in them."""
    small = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 4)
    request = message("ModelInferRequest")(
        model_name=draw(MODELS), model_version=draw(st.sampled_from(["", "2", "x"])), id=draw(st.text(max_size=3))
    )
    for name in draw(st.lists(NAMES, max_size=3)):
        tensor = request.inputs.add(name=name, datatype=draw(DATATYPES), shape=draw(st.lists(small, max_size=3)))
        if draw(st.booleans()):
            tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
        if draw(st.booleans()):
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=4)))
        if draw(st.integers(0, 3)) == 0:
            tensor.parameters["shared_memory_region"].string_param = draw(st.text(max_size=3))
            tensor.parameters["shared_memory_byte_size"].int64_param = draw(small)
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=20), max_size=3)))
    for name in draw(st.lists(NAMES, max_size=2)):
        request.outputs.add(name=name).parameters["classification"].int64_param = draw(small)
    if draw(st.booleans()):
        request.parameters["timeout"].int64_param = draw(small)
    return request


def code(channel: grpc.Channel, name: str, data: bytes) -> str:
    method = channel.unary_unary(f"/{SERVICE}/{name}", lambda one: one, lambda one: one)
    try:
        method(data, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@MANY
@given(request=requests())
def test_any_message(channel: grpc.Channel, request: Any) -> None:
    assert code(channel, "ModelInfer", request.SerializeToString()) in (
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "UNAVAILABLE",
    )


@MANY
@given(name=st.sampled_from([rpc.name for rpc in rpcs() if not rpc.streams]), data=st.binary(max_size=60))
def test_any_bytes_for_any_rpc(channel: grpc.Channel, name: str, data: bytes) -> None:
    assert code(channel, name, data) in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED")
