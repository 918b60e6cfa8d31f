"""The ports on which a gateway is asked: gRPC and HTTP servers in one event loop."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvicorn
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry

from nodes.errors import NodesError
from nodes.metrics_endpoint import Endpoint
from nodes.stream import bind, check_listen
from nodes.tls import Identity, server_context
from orchestrator.gateway.grpc_service import GrpcService
from orchestrator.gateway.health import Health
from orchestrator.gateway.http_protocol import Patient
from orchestrator.gateway.limits import MOST_UNDER_WAY_BYTES, Gate, Limits
from orchestrator.gateway.metrics import LimitMetrics, registry_of
from orchestrator.gateway.permits import Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.rest import MOST_BYTES, Rest
from orchestrator.gateway.serving import Serving
from orchestrator.gateway.shared_memory import SharedMemory

GRACE_S = 5.0  # for what is under way when a gateway ends
KEEP_ALIVE_S = 30
MOST_CONNECTIONS, MOST_CALLS = 1024, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen, each HOST:PORT; port 0 takes a free one, None opens no such door. `most_bytes`: of a message.
    `permits`: who may come in by gRPC and HTTP. `limits`, `most_connections`: of one client; `most_held_bytes`: of all
    bodies together. `tls`: as whom to answer; where it has a CA, clients show certificates of that.
    """

    grpc: str | None = "127.0.0.1:8001"
    http: str | None = "127.0.0.1:8000"
    metrics: str | None = None
    most_bytes: int = MOST_BYTES
    permits: Permits = field(default_factory=Permits)
    limits: Limits = field(default_factory=Limits)
    most_connections: int | None = None
    most_held_bytes: int = MOST_UNDER_WAY_BYTES
    tls: Identity | None = None

    def __post_init__(self) -> None:
        """NotAuthorised for an address that others can reach where nobody is asked for a token."""
        asked = None if self.permits.are_open else "asked for"
        for option, listen in (("--grpc", self.grpc), ("--http", self.http)):
            if listen is not None:
                check_listen(listen, asked, option=option, way_out="--tokens FILE")
        if self.metrics is not None:
            check_listen(self.metrics, "none is needed for figures", option="--metrics")


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None."""
        yield


class Doors:
    """Open from `open` to `close`; `grpc`, `http` and `metrics` are the ports, None of a door that there is not."""

    def __init__(self, serving: Serving, repository: Repository, listen: Listen, *figures: CollectorRegistry) -> None:
        """`figures` are told beside the gateway's own."""
        self._serving, self._repository, self._listen, self._figures = serving, repository, listen, figures
        self.gate = Gate(
            limits=listen.limits, most_bytes=listen.most_held_bytes, most_connections=listen.most_connections
        )
        self.grpc: int | None = None
        self.http: int | None = None
        self.metrics: int | None = None
        self._endpoint: Endpoint | None = None
        self._memory = SharedMemory(is_allowed=all(_is_here(one) for one in (listen.grpc, listen.http) if one))
        self._grpc_server: Any = None
        self._http_server: _Server | None = None
        self._http_task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen. NodesError for a port in use, or an address that is not this machine's."""
        try:
            if self._listen.grpc is not None:
                await self._open_grpc(self._listen.grpc)
            if self._listen.http is not None:
                await self._open_http(self._listen.http)
            if self._listen.metrics is not None:
                host, _, port = self._listen.metrics.rpartition(":")
                registry = registry_of(self._serving.statistics, *self._figures)
                registry.register(LimitMetrics(self.gate))
                tls = self._listen.tls
                self._endpoint = Endpoint(host, int(port), registry, None if tls is None else server_context(tls))
                self.metrics = self._endpoint.port
        except BaseException:
            await self.close()
            raise

    async def _open_grpc(self, listen: str) -> None:
        most = self._listen.most_bytes
        options = (
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        )
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
        server.add_generic_rpc_handlers(
            (GrpcService(self._serving, self._repository, self._memory, self._listen.permits, self.gate),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(Health(self._serving, self._listen.permits, self.gate), server)
        port = bind(server, listen, self._listen.tls)
        await server.start()
        self._grpc_server, self.grpc = server, port

    async def _open_http(self, listen: str) -> None:
        listening = self._listen
        rest = Rest(
            *(self._serving, self._repository, self._memory, listening.permits),
            most_bytes=listening.most_bytes,
            gate=self.gate,
        )
        held = _bound(listen)
        config = uvicorn.Config(
            rest.app(),
            log_level="error",
            log_config=None,  # whoever runs the process has set that up (nodes/json_log.py)
            access_log=False,
            lifespan="off",
            ws="none",
            http=type("Counted", (Patient,), {"enter": self.gate.enter, "leave": self.gate.leave}),
            loop="none",
            server_header=False,
            proxy_headers=False,  # whose address a limit goes by is not for clients to say
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(GRACE_S),
        )
        if listening.tls is not None:
            config.load()
            config.ssl = server_context(listening.tls)
        self._http_server = _Server(config)
        self._http_task = asyncio.create_task(self._http_server.serve(sockets=[held]), name="gateway-http")
        self.http = int(held.getsockname()[1])

    async def close(self) -> None:
        """Take nothing new in; what is under way gets GRACE_S."""
        if self._http_server is not None and self._http_task is not None:
            self._http_server.should_exit = True
            await self._http_task
        if self._grpc_server is not None:
            await self._grpc_server.stop(GRACE_S)
        if self._endpoint is not None:
            await asyncio.to_thread(self._endpoint.close)
        self._memory.unregister()


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's algorithm on
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host.strip("[]"), int(port)))
        held.listen(1024)
    except (OSError, ValueError, OverflowError) as error:
        held.close()
        raise NodesError(
            f"can't listen on {listen}: {getattr(error, 'strerror', None) or error}; choose another"
        ) from None
    return held


def _is_here(listen: str) -> bool:
    return listen.rpartition(":")[0].strip("[]") in ("127.0.0.1", "::1", "localhost")
