"""grpc.health.v1: the whole server under "" and under the protocol's name, each model under its own."""

import asyncio
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.gateway.faults import Refused
from orchestrator.gateway.grpc_service import address_of, refuse
from orchestrator.gateway.limits import Gate
from orchestrator.gateway.messages import SERVICE
from orchestrator.gateway.permits import Permits
from orchestrator.gateway.serving import Serving

LOOK_S = 0.2  # between looks for whoever watches
MOST_WATCHING = 64  # at once: each takes one of the gateway's calls, and asks for no token
STATUS = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Says what readiness says. A model is told of to those who may ask it."""

    def __init__(self, serving: Serving, permits: Permits, gate: Gate) -> None:
        self._serving, self._permits, self._gate = serving, permits, gate
        self._watching = 0

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Whether it serves; NOT_FOUND for a name that nobody has."""
        await self._admit(request.service, context)
        found = self._status(request.service)
        if found == STATUS.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return STATUS(status=found)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        """The status now, and each time that it has changed; SERVICE_UNKNOWN while nobody has the name."""
        await self._admit(request.service, context)
        if self._watching >= MOST_WATCHING:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MOST_WATCHING} watch already; use Check")
        self._watching += 1
        try:
            await self._tell(request.service, context)
        finally:
            self._watching -= 1

    async def _tell(self, service: str, context: Any) -> None:
        told = None
        while True:
            if (found := self._status(service)) != told:
                await context.write(STATUS(status=found))
                told = found
            await asyncio.sleep(LOOK_S)

    async def _admit(self, service: str, context: Any) -> None:
        if service in ("", SERVICE):
            return
        try:
            token = dict(context.invocation_metadata() or ()).get("authorization")
            permit = self._permits.admit(token, self._gate, address_of(context.peer()), time.monotonic())
            permit.check(service)
        except Refused as refused:
            await refuse(context, refused)

    def _status(self, service: str) -> int:
        source = self._serving.source
        if service in ("", SERVICE):
            is_serving = self._serving.all_ready()
        elif service in source.models():
            is_serving = source.is_ready(service)
        else:
            return int(STATUS.SERVICE_UNKNOWN)
        return int(STATUS.SERVING if is_serving else STATUS.NOT_SERVING)
