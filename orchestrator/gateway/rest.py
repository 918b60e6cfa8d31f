"""The protocol over REST: paths, methods and bodies. What they mean is serving.py's.

A body is read within BODY_S, as far as the limit goes; whoever sends slower, or more, is told so and let go.
"""

import asyncio
import gzip
import time
import zlib
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.gateway import describing
from orchestrator.gateway.accounts import CAME_WITH
from orchestrator.gateway.faults import Fault, Refused, invalid, refusal_of
from orchestrator.gateway.limits import Gate
from orchestrator.gateway.models import MOST_DIGITS, Model
from orchestrator.gateway.openapi import BINARY, HEADER_LENGTH, JSON, document, operations
from orchestrator.gateway.permits import ANYBODY, Permit, Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.rest_body import Asked, parsed
from orchestrator.gateway.serving import Serving
from orchestrator.gateway.shared_memory import SharedMemory

BODY_S = 30.0
MOST_BYTES = 256 << 20
MODEL, VERSIONED = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
DOCUMENT = "/v2/openapi.json"
OPEN = ("/v2", "/v2/health/live", "/v2/health/ready", DOCUMENT)  # to whoever looks whether it is there
Answering = Callable[[Request], Awaitable[Response]]


class RegionBody(BaseModel):
    """The JSON that registers a shared memory region."""

    model_config = ConfigDict(strict=True, extra="ignore")
    key: str
    byte_size: int
    offset: int = Field(default=0)


class LoadBody(BaseModel):
    """The JSON that loads a model."""

    parameters: dict[str, Any] = Field(default_factory=dict)


class IndexBody(BaseModel):
    """The JSON that asks for the index."""

    ready: bool = False


class Rest:
    """Speaks for a Serving."""

    def __init__(
        self,
        serving: Serving,
        repository: Repository,
        memory: SharedMemory,
        permits: Permits,
        *,
        most_bytes: int = MOST_BYTES,
        gate: Gate | None = None,
    ) -> None:
        self._serving, self._repository, self._memory, self._most_bytes = serving, repository, memory, most_bytes
        self._permits, self._gate = permits, gate or Gate()
        self._document = b""

    def app(self) -> Starlette:
        """What an ASGI server runs."""
        return Starlette(routes=self.routes(), exception_handlers={HTTPException: _no_such, Exception: _broken})

    def routes(self) -> list[Route]:
        """All paths; the document among them tells of each."""
        of_models: dict[str, tuple[str, Answering]] = {
            "": ("GET", self._metadata),
            "/ready": ("GET", self._ready),
            "/config": ("GET", self._config),
            "/stats": ("GET", self._statistics),
            "/infer": ("POST", self._infer),
        }
        others: list[tuple[str, str, Answering]] = [
            ("GET", DOCUMENT, self._openapi),
            ("GET", "/v2", self._server),
            ("GET", "/v2/health/live", self._live),
            ("GET", "/v2/health/ready", self._all_ready),
            ("GET", "/v2/models/stats", self._statistics),
            ("POST", "/v2/repository/index", self._index),
            ("POST", "/v2/repository/models/{model}/load", self._load),
            ("POST", "/v2/repository/models/{model}/unload", self._unload),
        ]
        for kind, is_system in (("system", True), ("cuda", False)):
            at = f"/v2/{kind}sharedmemory"
            status, end = (self._regions, self._unregister) if is_system else (self._no_regions, self._no_regions)
            others += [
                ("GET", f"{at}/status", status),
                ("GET", f"{at}/region/{{region}}/status", status),
                ("POST", f"{at}/unregister", end),
                ("POST", f"{at}/region/{{region}}/unregister", end),
            ]
        others.append(("POST", "/v2/systemsharedmemory/region/{region}/register", self._register))
        routes = [self._route(method, path, answer) for method, path, answer in others]
        for path in (MODEL, VERSIONED):
            routes += [self._route(method, path + tail, answer) for tail, (method, answer) in of_models.items()]
        self._document = to_json(document(routes, operations(IndexBody, LoadBody, RegionBody)))
        return routes

    def _route(self, method: str, path: str, answer: Answering) -> Route:
        async def told(request: Request) -> Response:
            try:
                if path in OPEN:
                    request.state.permit = ANYBODY
                    return await answer(request)
                CAME_WITH.set(request.headers.get("traceparent"))
                address, now_s = request.client.host if request.client else "", time.monotonic()
                permit = self._permits.admit(request.headers.get("authorization"), self._gate, address, now_s)
                request.state.permit = permit
                with self._gate.request(permit.name, address, permit.limits, now_s):
                    return await self._counting(answer, request)
            except ClientDisconnect:
                return Response(status_code=Fault.CANCELLED.http)
            except Exception as error:
                return _refused(refusal_of(error))

        return Route(path, told, methods=[method], name=answer.__name__.removeprefix("_"))

    async def _counting(self, answer: Answering, request: Request) -> Response:
        """Its answer, with room for as much as its body turns out to take."""
        request.state.held_bytes = 0
        try:
            return await answer(request)
        finally:
            self._gate.release(request.state.held_bytes)

    def _hold(self, request: Request, nbytes: int) -> None:
        self._gate.hold(nbytes)
        request.state.held_bytes += nbytes

    def _model(self, request: Request) -> Model:
        return self._serving.model(*_which(request), _permit(request))

    async def _openapi(self, _request: Request) -> Response:
        return Response(self._document, media_type=JSON)

    async def _server(self, _request: Request) -> Response:
        return _json(describing.server())

    async def _live(self, _request: Request) -> Response:
        is_live = self._serving.source.is_live()
        return _json({"live": is_live}, 200 if is_live else 503)

    async def _all_ready(self, _request: Request) -> Response:
        is_ready = self._serving.all_ready()
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def _metadata(self, request: Request) -> Response:
        return _json(describing.metadata(self._model(request)))

    async def _ready(self, request: Request) -> Response:
        model = self._model(request)
        is_ready = self._serving.source.is_ready(model.name)
        return _json({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)

    async def _config(self, request: Request) -> Response:
        return _json(describing.config(self._model(request)))

    async def _statistics(self, request: Request) -> Response:
        return _json(describing.statistics(self._serving.counted(*_which(request), _permit(request))))

    async def _infer(self, request: Request) -> Response:
        body = await self._body(request)
        under_way = asyncio.ensure_future(self._answer(request, Asked(body, _json_bytes(request))))
        answer, json_bytes = await _unless_gone(request, under_way)
        headers = {} if json_bytes is None else {HEADER_LENGTH: str(json_bytes)}
        kind = JSON if json_bytes is None else BINARY
        packing = _packing(request.headers.get("accept-encoding", ""), is_binary=kind == BINARY)
        if packing:
            answer, headers = await asyncio.to_thread(_packed, answer, packing), headers | {"Content-Encoding": packing}
        return Response(answer, media_type=kind, headers=headers)

    async def _answer(self, request: Request, asked: Asked) -> tuple[bytes, int | None]:
        memory, (model, version) = self._memory, _which(request)
        return await self._serving.infer(
            model,
            version,
            lambda: asked.question(memory),
            lambda reply: asked.answer(reply, memory),
            _permit(request),
        )

    async def _index(self, request: Request) -> Response:
        asked: IndexBody = await self._parsed(request, IndexBody)
        return _json(
            [one for one in self._repository.index(_permit(request)) if not asked.ready or one["state"] == "READY"]
        )

    async def _load(self, request: Request) -> Response:
        asked: LoadBody = await self._parsed(request, LoadBody)
        await self._repository.load(request.path_params["model"], list(asked.parameters), _permit(request))
        return _json({})

    async def _unload(self, request: Request) -> Response:
        await self._repository.unload(request.path_params["model"], _permit(request))
        return _json({})

    async def _regions(self, request: Request) -> Response:
        _permit(request).check_memory()
        found = self._memory.regions(request.path_params.get("region", ""))
        return _json(
            [{"name": one.name, "key": one.key, "offset": one.offset, "byte_size": one.nbytes} for one in found]
        )

    async def _register(self, request: Request) -> Response:
        _permit(request).check_memory()
        asked: RegionBody = await self._parsed(request, RegionBody)
        self._memory.register(request.path_params["region"], asked.key, asked.offset, asked.byte_size)
        return _json({})

    async def _unregister(self, request: Request) -> Response:
        _permit(request).check_memory()
        self._memory.unregister(request.path_params.get("region", ""))
        return _json({})

    async def _no_regions(self, _request: Request) -> Response:
        """Of a GPU's memory: there never are any, which clients ask to be sure of."""
        return _json([])

    async def _parsed(self, request: Request, kind: type[BaseModel]) -> Any:
        return parsed(kind, await self._body(request) or b"{}")

    async def _body(self, request: Request) -> bytes:
        """The whole body, unpacked. Refused where it is too long or too slow."""
        try:
            async with asyncio.timeout(BODY_S):
                packed = await self._received(request)
        except TimeoutError:
            raise Refused(Fault.INVALID, f"the body was not there within {BODY_S:g} s") from None
        encoding = request.headers.get("content-encoding", "identity")
        if encoding == "identity":
            return packed
        unpacked = await asyncio.to_thread(_unpacked, packed, encoding, self._most_bytes)
        self._hold(request, len(unpacked))
        return unpacked

    async def _received(self, request: Request) -> bytes:
        parts, nbytes = list[bytes](), 0
        told = request.headers.get("content-length", "0")
        if told.isdecimal() and int(told[:MOST_DIGITS]) > self._most_bytes:
            raise _too_long(self._most_bytes, f"{int(told[:MOST_DIGITS]):,} bytes are")
        async for part in request.stream():
            if not part:
                continue
            nbytes += len(part)
            self._hold(request, len(part))
            if nbytes > self._most_bytes:
                raise _too_long(self._most_bytes)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _unless_gone(request: Request, under_way: "asyncio.Future[Any]") -> Any:
    """The answer, unless the client goes away before: then nobody works on it any more."""
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({under_way, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not under_way.done():
            raise ClientDisconnect
        return under_way.result()
    finally:
        under_way.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _permit(request: Request) -> Permit:
    found: Permit = request.state.permit
    return found


def _which(request: Request) -> tuple[str, str]:
    return request.path_params.get("model", ""), request.path_params.get("version", "")


def _json_bytes(request: Request) -> int | None:
    told = request.headers.get(HEADER_LENGTH)
    if told is None:
        return None
    if not (told.isascii() and told.isdecimal() and len(told) <= MOST_DIGITS):
        raise invalid(f"{HEADER_LENGTH}: should be a number of bytes, is {told[:80]!r}")
    return int(told)


def _unpacked(packed: bytes, encoding: str, most_bytes: int) -> bytes:
    windows = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
    if encoding not in windows:
        raise Refused(Fault.UNSUPPORTED, f"Content-Encoding {encoding!r} is not read here; use gzip or deflate")
    unpacker = zlib.decompressobj(windows[encoding])
    try:
        found = unpacker.decompress(packed, most_bytes)
    except zlib.error as error:
        raise invalid(f"the body is no {encoding}: {error}") from None
    if unpacker.unconsumed_tail:
        raise _too_long(most_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise invalid(f"the body is no {encoding}: it ends too early or too late")
    return found


def _too_long(most_bytes: int, how_long: str = "it is") -> Refused:
    return Refused(Fault.TOO_LARGE, f"the body is too long: {how_long} more than {most_bytes:,}, the most here")


def _packing(accepted: str, *, is_binary: bool) -> str:
    """How to pack an answer; "" for not at all, as tensors are where a client merely would take either packing."""
    offered = [one for one in ("gzip", "deflate") if one in accepted]
    return "" if not offered or (is_binary and len(offered) > 1) else offered[0]


def _packed(body: bytes, packing: str) -> bytes:
    return gzip.compress(body, 1) if packing == "gzip" else zlib.compress(body, 1)


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status_code=status, media_type=JSON)


def _refused(refused: Refused) -> Response:
    response = _json({"error": str(refused)}, refused.fault.http)
    if refused.fault is Fault.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if refused.retry_s is not None:
        response.headers["Retry-After"] = str(max(1, ceil(refused.retry_s)))
    return response


async def _no_such(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: f"no path {request.url.path}", 405: f"{request.method} is not for {request.url.path}"}
    response = _json({"error": said.get(error.status_code, error.detail)}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _broken(_request: Request, error: Exception) -> Response:
    return _refused(refusal_of(error))
