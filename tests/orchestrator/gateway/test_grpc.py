"""The protocol over gRPC, by its messages themselves: what clients' libraries hide."""

import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory
from typing import Any

import grpc
import numpy as np
import pytest

from orchestrator.errors import RequestFailed, Unavailable
from orchestrator.gateway.messages import SERVICE, message, rpcs
from tests.eventually import eventually
from tests.orchestrator.gateway.served import Served

RAW = struct.pack("<2f", 1.5, -2)
Call = Any


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as opened:
        yield opened


def call(channel: grpc.Channel, name: str, request: Any = None, **options: Any) -> Any:
    (rpc,) = [rpc for rpc in rpcs() if rpc.name == name]
    answers = message(f"{name}Response") if name != "ModelStreamInfer" else message("ModelStreamInferResponse")
    kind = channel.stream_stream if rpc.streams else channel.unary_unary
    method = kind(f"/{SERVICE}/{name}", lambda one: one.SerializeToString(), answers.FromString)
    return method(message(f"{name}Request")() if request is None else request, timeout=20, **options)


def asking(model: str = "float32", datatype: str = "FP32", shape: tuple[int, ...] = (1, 2), **more: Any) -> Any:
    request = message("ModelInferRequest")(model_name=model, **more)
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


def refused(channel: grpc.Channel, name: str, request: Any) -> tuple[str, str]:
    """The code and what is said."""
    with pytest.raises(grpc.RpcError) as error:
        call(channel, name, request)
    return error.value.code().name, error.value.details()


def test_raw_inputs_are_answered_raw(channel: grpc.Channel) -> None:
    response = call(channel, "ModelInfer", asking(id="7", raw_input_contents=[RAW]))
    assert (response.model_name, response.model_version, response.id) == ("float32", "2", "7")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [1, 2])
    assert list(response.raw_output_contents) == [RAW]


@pytest.mark.parametrize(
    ("datatype", "model", "field", "values"),
    [
        ("BOOL", "bool", "bool_contents", [True, False]),
        ("INT8", "int8", "int_contents", [-128, 127]),
        ("INT64", "int64", "int64_contents", [-(1 << 63), 1]),
        ("UINT16", "uint16", "uint_contents", [0, 65535]),
        ("UINT64", "uint64", "uint64_contents", [(1 << 64) - 1, 0]),
        ("FP32", "float32", "fp32_contents", [1.5, -2.0]),
        ("FP64", "float64", "fp64_contents", [1.5, -2.0]),
    ],
)
def test_typed_contents_are_read(
    channel: grpc.Channel, datatype: str, model: str, field: str, values: list[Any]
) -> None:
    request = asking(model, datatype)
    getattr(request.inputs[0].contents, field).extend(values)
    response = call(channel, "ModelInfer", request)
    assert np.frombuffer(response.raw_output_contents[0], model).tolist() == values


def test_typed_bytes_are_read(channel: grpc.Channel) -> None:
    request = asking("string", "BYTES")
    request.inputs[0].contents.bytes_contents.extend([b"\xff", b""])
    assert call(channel, "ModelInfer", request).raw_output_contents[0] == b"\1\0\0\0\xff\0\0\0\0"


def test_a_calls_deadline_is_the_requests_budget(served: Served, channel: grpc.Channel) -> None:
    call(channel, "ModelInfer", asking(raw_input_contents=[RAW]))
    request = asking(raw_input_contents=[RAW], model_version="3")
    request.parameters["timeout"].int64_param = 250_000
    call(channel, "ModelInfer", request)
    (name, first_s, _, _), second = served.echo.asked
    assert (name, second) == ("float32", ("float32", 0.25, 3, ""))
    assert 15 < first_s < 21


@pytest.mark.parametrize(
    ("request_of", "code", "said"),
    [
        (lambda: asking("nobody"), "NOT_FOUND", "no model 'nobody'"),
        (lambda: asking(model_version="9", raw_input_contents=[RAW]), "NOT_FOUND", "has no version 9; there is 2, 3"),
        (lambda: asking(model_version="x", raw_input_contents=[RAW]), "INVALID_ARGUMENT", "'x' is no version's number"),
        (
            lambda: asking(model_version="9" * 5000, raw_input_contents=[RAW]),
            "INVALID_ARGUMENT",
            "is no version's number",
        ),
        (lambda: asking(raw_input_contents=[RAW[:7]]), "INVALID_ARGUMENT", "7 bytes came, FP32[1, 2] takes 8"),
        (lambda: asking(raw_input_contents=[RAW, RAW]), "INVALID_ARGUMENT", "has more than there are inputs"),
        (lambda: asking(shape=(2,), raw_input_contents=[RAW]), "INVALID_ARGUMENT", "has shape [2], expected [-1, 2]"),
        (lambda: asking(datatype="FP31", raw_input_contents=[RAW]), "INVALID_ARGUMENT", "no datatype 'FP31'"),
        (lambda: asking("float16", "FP16"), "INVALID_ARGUMENT", "0 bytes came, FP16[1, 2] takes 4"),
        (lambda: asking(shape=(1 << 62,) * 300), "INVALID_ARGUMENT", "has shape of 300 dimensions, expected [-1, 2]"),
        (asking, "INVALID_ARGUMENT", "0 values came, shape [1, 2] has 2"),
        (lambda: asking("pair", raw_input_contents=[RAW]), "INVALID_ARGUMENT", "input 'z' is missing"),
    ],
)
def test_a_request_that_is_not_sound_is_refused(
    served: Served, channel: grpc.Channel, request_of: Any, code: str, said: str
) -> None:
    found = refused(channel, "ModelInfer", request_of())
    assert (found[0], served.echo.asked) == (code, [])
    assert said in found[1]


def test_raw_and_typed_contents_together_are_refused(channel: grpc.Channel) -> None:
    request = asking(raw_input_contents=[RAW])
    request.inputs[0].contents.fp32_contents.extend([1, 2])
    assert refused(channel, "ModelInfer", request) == (
        "INVALID_ARGUMENT",
        "input 'x': contents and raw_input_contents can't be given together",
    )


def test_failures_have_their_codes_and_unavailable_says_when_to_come_again(
    served: Served, channel: grpc.Channel
) -> None:
    served.echo.raises = RequestFailed("failed 4 times")
    assert refused(channel, "ModelInfer", asking(raw_input_contents=[RAW])) == ("INTERNAL", "failed 4 times")
    served.echo.raises = Unavailable("it is draining")
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ModelInfer", asking(raw_input_contents=[RAW]))
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(error.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"


def test_a_message_beyond_the_limit_is_refused(channel: grpc.Channel) -> None:
    long = asking(raw_input_contents=[bytes(1 << 20)])
    code, said = refused(channel, "ModelInfer", long)
    assert code == "RESOURCE_EXHAUSTED"
    assert f"larger than max ({long.ByteSize()} vs. {1 << 20})" in said
    assert refused(channel, "ModelInfer", asking(raw_input_contents=[bytes(8), bytes(8)]))[0] == "INVALID_ARGUMENT"


def test_readiness_tells_the_truth(served: Served, channel: grpc.Channel) -> None:
    ready = message("ModelReadyRequest")
    assert call(channel, "ModelReady", ready(name="pair", version="3")).ready
    assert not call(channel, "ModelReady", ready(name="pair", version="9")).ready
    assert not call(channel, "ModelReady", ready(name="nobody")).ready
    served.echo.is_up = False
    assert not call(channel, "ModelReady", ready(name="pair")).ready
    assert not call(channel, "ServerReady").ready
    assert call(channel, "ServerLive").live


def test_the_health_service_tells_those_who_watch_of_each_change(served: Served, channel: grpc.Channel) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    status = health_pb2.HealthCheckResponse
    watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="pair"), timeout=20)
    seen = [next(watching).status]
    for is_up in (False, True):
        served.echo.is_up = is_up
        seen.append(next(watching).status)
    watching.cancel()
    assert seen == [status.SERVING, status.NOT_SERVING, status.SERVING]
    nobody = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=20)
    assert next(nobody).status == status.SERVICE_UNKNOWN
    nobody.cancel()


def test_only_so_many_watch_the_health_service_at_once(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from orchestrator.gateway import health

    monkeypatch.setattr(health, "MOST_WATCHING", 2)
    watching = []

    def watch() -> bool:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        try:
            next(stream)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.details() == "2 watch already; use Check"
            return False
        watching.append(stream)
        return True

    eventually(watch, what="those of other tests have gone")
    assert [watch(), watch()] == [True, False]
    watching.pop().cancel()
    assert eventually(watch, what="one that has gone makes room")
    for stream in watching:
        stream.cancel()


def test_the_health_service_speaks_for_the_server_and_each_model(served: Served, channel: grpc.Channel) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    health = health_pb2_grpc.HealthStub(channel)

    def status(name: str) -> str:
        found = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(found))

    assert [status(name) for name in ("", SERVICE, "pair")] == ["SERVING"] * 3
    served.echo.is_up = False
    assert status("pair") == "NOT_SERVING"
    with pytest.raises(grpc.RpcError) as error:
        status("nobody")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_unknown_rpc_is_unimplemented(channel: grpc.Channel) -> None:
    method = channel.unary_unary(f"/{SERVICE}/LogSettings", lambda one: one, lambda one: one)
    with pytest.raises(grpc.RpcError) as error:
        method(b"", timeout=20)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_end_the_call_and_nothing_else(channel: grpc.Channel) -> None:
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda one: one, lambda one: one)
    with pytest.raises(grpc.RpcError) as error:
        method(b"\xff" * 20, timeout=20)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the request is no message of this rpc" in error.value.details()
    assert call(channel, "ServerLive").live


def test_nobody_works_for_a_call_that_was_cancelled(served: Served, channel: grpc.Channel) -> None:
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer", lambda one: one.SerializeToString(), lambda one: one)
    under_way = method.future(asking("slow", raw_input_contents=[RAW]), timeout=20)
    eventually(lambda: len(served.echo.asked) == 1, what="the request arrives")
    under_way.cancel()
    eventually(lambda: served.echo.cancelled == 1, what="it is cancelled")


def test_a_stream_that_breaks_cancels_all_that_it_asked(served: Served, channel: grpc.Channel) -> None:
    requests = [asking("slow", raw_input_contents=[RAW]) for _ in range(5)]
    stream = call(channel, "ModelStreamInfer", iter(requests))
    eventually(lambda: len(served.echo.asked) == 5, what="the requests arrive")
    stream.cancel()
    eventually(lambda: served.echo.cancelled == 5, what="all are cancelled")


def test_a_stream_is_not_read_further_than_its_answers_go(served: Served, channel: grpc.Channel) -> None:
    sent = []

    def requests() -> Iterator[Any]:
        for number in range(200):
            sent.append(number)
            yield asking("slow", id=str(number), raw_input_contents=[bytes(8)])

    stream = call(channel, "ModelStreamInfer", requests())
    eventually(lambda: len(served.echo.asked) == 32, what="as many as may be under way")
    eventually(lambda: len(sent) == 200, what="gRPC itself takes the small rest in")
    assert len(served.echo.asked) == 32
    served.do(_let_go(served))
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(list, stream).result(30)
    assert sorted(int(one.infer_response.id) for one in answers) == list(range(200))


async def _let_go(served: Served) -> None:
    served.echo.let_go.set()


def test_a_fault_in_a_stream_ends_its_request_only(served: Served, channel: grpc.Channel) -> None:
    requests = [asking("nobody", id="1"), asking(model_version="9" * 5000, id="2"), asking(id="3")]
    requests += [asking(id="4", raw_input_contents=[RAW])]
    answers = {one.infer_response.id: one for one in call(channel, "ModelStreamInfer", iter(requests))}
    assert "no model 'nobody'" in answers["1"].error_message
    assert "no version's number" in answers["2"].error_message
    assert "0 values came" in answers["3"].error_message
    assert list(answers["4"].infer_response.raw_output_contents) == [RAW]
    served.echo.raises = ZeroDivisionError("a fault of ours")
    (answer,) = call(channel, "ModelStreamInfer", iter(requests[3:]))
    assert "ZeroDivisionError" in answer.error_message


def test_a_stream_is_answered_in_the_order_of_its_requests(served: Served, channel: grpc.Channel) -> None:
    served.echo.let_go.clear()
    requests = [asking("slow", id="0", raw_input_contents=[RAW])]
    requests += [asking(id=str(number), raw_input_contents=[RAW]) for number in range(1, 9)]
    stream = call(channel, "ModelStreamInfer", iter(requests))
    eventually(lambda: len(served.echo.asked) == 9, what="all are asked, and eight answered")
    served.do(_let_go(served))
    assert [one.infer_response.id for one in stream] == [str(number) for number in range(9)]


def test_a_message_of_what_is_wrong_is_not_as_long_as_what_was_sent(channel: grpc.Channel) -> None:
    request = asking(raw_input_contents=[RAW])
    request.inputs[0].name = "x" * 50_000
    code, said = refused(channel, "ModelInfer", request)
    assert (code, len(said) < 2000) == ("INVALID_ARGUMENT", True)
    many = message("ModelInferRequest")(model_name="float32", raw_input_contents=[b""] * 2000)
    for number in range(2000):
        many.inputs.add(name=f"n{number}")
    code, said = refused(channel, "ModelInfer", many)
    assert (code, said.count("it has no input")) == ("INVALID_ARGUMENT", 5)


def test_no_rows_have_no_greatest_values(channel: grpc.Channel) -> None:
    request = asking(shape=(0, 2), raw_input_contents=[b""])
    request.outputs.add(name="y").parameters["classification"].int64_param = 3
    assert list(call(channel, "ModelInfer", request).outputs[0].shape) == [0, 2]


def test_tensors_lie_in_shared_memory(channel: grpc.Channel) -> None:
    region = shared_memory.SharedMemory(create=True, size=64)
    try:
        region.buf[8:16] = RAW
        register = message("SystemSharedMemoryRegisterRequest")(name="r", key=region.name, offset=8, byte_size=40)
        call(channel, "SystemSharedMemoryRegister", register)
        request = asking()
        told = request.inputs[0].parameters
        told["shared_memory_region"].string_param, told["shared_memory_byte_size"].int64_param = "r", 8
        output = request.outputs.add(name="y").parameters
        output["shared_memory_region"].string_param, output["shared_memory_byte_size"].int64_param = "r", 8
        output["shared_memory_offset"].int64_param = 24
        response = call(channel, "ModelInfer", request)
        assert (len(response.raw_output_contents), bytes(region.buf[32:40])) == (0, RAW)
        output["shared_memory_offset"].int64_param = 40
        code, said = refused(channel, "ModelInfer", request)
        assert (code, "bytes 40 to 48 lie beyond region 'r' of 40" in said) == ("INVALID_ARGUMENT", True)
        output["shared_memory_offset"].int64_param, output["shared_memory_byte_size"].int64_param = 0, 7
        assert "an output of 8 bytes does not fit 7" in refused(channel, "ModelInfer", request)[1]
        assert "registered already" in refused(channel, "SystemSharedMemoryRegister", register)[1]
        call(channel, "SystemSharedMemoryUnregister")
        assert not call(channel, "SystemSharedMemoryStatus").regions
        assert refused(channel, "ModelInfer", request)[0] == "NOT_FOUND"
    finally:
        region.close()
        region.unlink()


def test_an_object_that_was_made_shorter_is_refused(channel: grpc.Channel) -> None:
    """Through a mapping this would end the process."""
    region = shared_memory.SharedMemory(create=True, size=8192)
    try:
        register = message("SystemSharedMemoryRegisterRequest")(name="short", key=region.name, byte_size=8192)
        call(channel, "SystemSharedMemoryRegister", register)
        os.truncate(f"/dev/shm/{region.name.lstrip('/')}", 0)
        for is_output in (False, True):
            request = asking(raw_input_contents=[RAW] if is_output else [])
            tensor = request.outputs.add(name="y") if is_output else request.inputs[0]
            tensor.parameters["shared_memory_region"].string_param = "short"
            tensor.parameters["shared_memory_byte_size"].int64_param = 8
            code, said = refused(channel, "ModelInfer", request)
            assert (code, "its object is shorter" in said) == ("INVALID_ARGUMENT", True)
        call(channel, "SystemSharedMemoryUnregister")
    finally:
        region.close()
        region.unlink()


def test_regions_are_not_without_number(channel: grpc.Channel) -> None:
    region = shared_memory.SharedMemory(create=True, size=64)
    try:
        kind = message("SystemSharedMemoryRegisterRequest")
        for number in range(256):
            call(channel, "SystemSharedMemoryRegister", kind(name=f"r{number}", key=region.name, byte_size=64))
        one_more = kind(name="more", key=region.name, byte_size=64)
        assert refused(channel, "SystemSharedMemoryRegister", one_more)[0] == "RESOURCE_EXHAUSTED"
        call(channel, "SystemSharedMemoryUnregister")
        call(channel, "SystemSharedMemoryRegister", one_more)
        call(channel, "SystemSharedMemoryUnregister")
    finally:
        region.close()
        region.unlink()


@pytest.mark.parametrize(
    ("key", "nbytes", "said"),
    [
        ("/no-such-object", 8, "can't be opened: No such file"),
        ("../etc/passwd", 8, "is no name of an object"),
        ("..", 8, "is no name of an object"),
        ("", 8, "is no name of an object"),
        ("/x", 0, "so many bytes from there on can't be"),
        ("/a\0b", 8, "is no name of an object"),
    ],
)
def test_regions_that_can_not_be_are_refused(channel: grpc.Channel, key: str, nbytes: int, said: str) -> None:
    register = message("SystemSharedMemoryRegisterRequest")(name="bad", key=key, byte_size=nbytes)
    code, found = refused(channel, "SystemSharedMemoryRegister", register)
    assert code == "INVALID_ARGUMENT"
    assert said in found
