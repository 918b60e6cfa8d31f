"""The protocol's gRPC service: each rpc a method, every refusal its status code. What they mean is serving.py's."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from orchestrator.gateway import describing
from orchestrator.gateway.accounts import CAME_WITH
from orchestrator.gateway.faults import Fault, Refused, invalid, refusal_of
from orchestrator.gateway.grpc_tensors import question_of, response_of
from orchestrator.gateway.limits import Gate
from orchestrator.gateway.messages import SERVICE, Rpc, message, rpcs
from orchestrator.gateway.permits import ANYBODY, Permit, Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.serving import Serving
from orchestrator.gateway.shared_memory import SharedMemory
from orchestrator.gateway.stream_room import StreamRoom

PUSHBACK = "grpc-retry-pushback-ms"  # gRPC A6: when a client's own retries should come
FINAL_WANTED, FINAL = "triton_enable_empty_final_response", "triton_final_response"
OPEN = ("ServerLive", "ServerReady", "ServerMetadata")  # to whoever looks whether it is there


class Call(NamedTuple):
    """What is known of a call beside its request."""

    permit: Permit
    remaining_s: float | None
    address: str = ""


Answering = Callable[[Any, Call], Awaitable[Any]]


class GrpcService(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Speaks for a Serving."""

    def __init__(
        self,
        serving: Serving,
        repository: Repository,
        memory: SharedMemory,
        permits: Permits,
        gate: Gate | None = None,
    ) -> None:
        self._serving, self._repository, self._memory, self._permits = serving, repository, memory, permits
        self._gate = gate or Gate()
        answering: dict[str, Answering] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._memory_status,
            "SystemSharedMemoryRegister": self._memory_register,
            "SystemSharedMemoryUnregister": self._memory_unregister,
            "CudaSharedMemoryStatus": self._nothing("CudaSharedMemoryStatusResponse"),
            "CudaSharedMemoryUnregister": self._nothing("CudaSharedMemoryUnregisterResponse"),
        }
        self._methods = {
            f"/{SERVICE}/{rpc.name}": grpc.stream_stream_rpc_method_handler(self._stream, None, rpc.write)
            if rpc.streams
            else grpc.unary_unary_rpc_method_handler(self._refusing(answering[rpc.name], rpc), None, rpc.write)
            for rpc in rpcs()
        }

    def service(self, handler_call_details: Any) -> Any:
        """The method that was called; None, which gRPC makes UNIMPLEMENTED, for one that there is not."""
        return self._methods.get(handler_call_details.method)

    async def _server_live(self, _request: Any, _call: Call) -> Any:
        return message("ServerLiveResponse")(live=self._serving.source.is_live())

    async def _server_ready(self, _request: Any, _call: Call) -> Any:
        return message("ServerReadyResponse")(ready=self._serving.all_ready())

    async def _model_ready(self, request: Any, call: Call) -> Any:
        return message("ModelReadyResponse")(ready=self._serving.is_ready(request.name, request.version, call.permit))

    async def _server_metadata(self, _request: Any, _call: Call) -> Any:
        return message("ServerMetadataResponse")(**describing.server())

    async def _model_metadata(self, request: Any, call: Call) -> Any:
        told = describing.metadata(self._serving.model(request.name, request.version, call.permit))
        return ParseDict(told, message("ModelMetadataResponse")())

    async def _config(self, request: Any, call: Call) -> Any:
        told = describing.config(self._serving.model(request.name, request.version, call.permit))
        return ParseDict({"config": told}, message("ModelConfigResponse")())

    async def _statistics(self, request: Any, call: Call) -> Any:
        told = describing.statistics(self._serving.counted(request.name, request.version, call.permit))
        return ParseDict(told, message("ModelStatisticsResponse")())

    async def _index(self, request: Any, call: Call) -> Any:
        models = [one for one in self._repository.index(call.permit) if not request.ready or one["state"] == "READY"]
        return ParseDict({"models": models}, message("RepositoryIndexResponse")())

    async def _load(self, request: Any, call: Call) -> Any:
        await self._repository.load(request.model_name, list(request.parameters), call.permit)
        return message("RepositoryModelLoadResponse")()

    async def _unload(self, request: Any, call: Call) -> Any:
        await self._repository.unload(request.model_name, call.permit)
        return message("RepositoryModelUnloadResponse")()

    async def _memory_status(self, request: Any, call: Call) -> Any:
        response = message("SystemSharedMemoryStatusResponse")()
        call.permit.check_memory()
        for region in self._memory.regions(request.name):
            told = response.regions[region.name]
            told.name, told.key, told.offset, told.byte_size = region.name, region.key, region.offset, region.nbytes
        return response

    async def _memory_register(self, request: Any, call: Call) -> Any:
        call.permit.check_memory()
        self._memory.register(request.name, request.key, request.offset, request.byte_size)
        return message("SystemSharedMemoryRegisterResponse")()

    async def _memory_unregister(self, request: Any, call: Call) -> Any:
        call.permit.check_memory()
        self._memory.unregister(request.name)
        return message("SystemSharedMemoryUnregisterResponse")()

    def _nothing(self, response: str) -> Answering:
        async def answer(_request: Any, _call: Call) -> Any:
            return message(response)()

        return answer

    async def _infer(self, request: Any, call: Call) -> Any:
        return await self._serving.infer(
            request.model_name,
            request.model_version,
            lambda: question_of(request, self._memory, call.remaining_s),
            lambda reply: response_of(reply, request, self._memory),
            call.permit,
        )

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Answers in the order of their requests. Whoever does not read them is not read from either."""
        try:
            permit, address = self._permit(context), address_of(context.peer())
            with self._gate.stream(permit.name, address, permit.limits, time.monotonic()):
                await self._answer_all(requests, context, permit, address)
        except Refused as refused:
            await refuse(context, refused)

    async def _answer_all(self, requests: AsyncIterator[bytes], context: Any, permit: Permit, address: str) -> None:
        room = StreamRoom()

        async def answer(request: bytes, counted: int, before: asyncio.Event, written: asyncio.Event) -> None:
            try:
                response = await self._streamed(request, Call(permit, context.time_remaining(), address))
                counted = room.answered(counted, response.ByteSize())
                del request
                await before.wait()
                await context.write(response)
            finally:
                written.set()
                room.leave(counted)

        before = asyncio.Event()
        before.set()
        async with asyncio.TaskGroup() as under_way:
            async for request in requests:
                counted = await room.enter(len(request))
                written = asyncio.Event()
                under_way.create_task(answer(request, counted, before, written))
                del request
                before = written

    async def _streamed(self, data: bytes, call: Call) -> Any:
        response = message("ModelStreamInferResponse")()
        request = message("ModelInferRequest")()
        try:
            with self._held(len(data), call.permit, call.address):
                request = read(message("ModelInferRequest").FromString, data)
                response.infer_response.CopyFrom(await self._infer(request, call))
        except Exception as error:
            response.error_message = str(refusal_of(error))
            response.infer_response.id = request.id
        if request.parameters[FINAL_WANTED].bool_param:
            response.infer_response.parameters[FINAL].bool_param = True
        return response

    @contextmanager
    def _held(self, nbytes: int, permit: Permit, address: str) -> Iterator[None]:
        """Around one request of so many bytes."""
        with self._gate.request(permit.name, address, permit.limits, time.monotonic()):
            self._gate.hold(nbytes)
            try:
                yield
            finally:
                self._gate.release(nbytes)

    def _permit(self, context: Any) -> Permit:
        told = dict(context.invocation_metadata() or ())
        CAME_WITH.set(told.get("traceparent"))
        address = address_of(context.peer())
        return self._permits.admit(told.get("authorization"), self._gate, address, time.monotonic())

    def _refusing(self, answer: Answering, rpc: Rpc) -> Callable[[bytes, Any], Awaitable[Any]]:
        """The same, from bytes, for who may ask; with what it raises told as gRPC has it."""

        async def told(data: bytes, context: Any) -> Any:
            try:
                if rpc.name in OPEN:
                    return await answer(read(rpc.read, data), Call(ANYBODY, context.time_remaining()))
                permit = self._permit(context)
                with self._held(len(data), permit, address_of(context.peer())):
                    return await answer(read(rpc.read, data), Call(permit, context.time_remaining()))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await refuse(context, refusal_of(error))

        return told


def address_of(peer: str) -> str:
    """The host in what gRPC calls a peer, such as ipv4:10.0.0.1:5000."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


def read(how: Callable[[bytes], Any], data: bytes) -> Any:
    """A message of its bytes. Refused for what is none: a client's fault, which gRPC itself would call the server's."""
    try:
        return how(data)
    except DecodeError as error:
        raise invalid(f"the request is no message of this rpc: {error}") from None


async def refuse(context: Any, refused: Refused) -> NoReturn:
    """End a call with a refusal's code."""
    if refused.retry_s is not None and refused.fault in (Fault.UNAVAILABLE, Fault.TOO_MANY):
        context.set_trailing_metadata(((PUSHBACK, str(round(refused.retry_s * 1e3))),))
    await context.abort(getattr(grpc.StatusCode, refused.fault.grpc), str(refused))
    raise refused  # abort does not come back
