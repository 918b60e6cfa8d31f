"""The protocol's messages and rpcs, as classes made of open_inference.proto.

They live in a pool of their own: another package in this process that brings the same protocol's messages (a client's,
say) does not collide with them.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from orchestrator.errors import OrchestratorError

COMPILED = Path(__file__).with_name("open_inference.binpb")
PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"


class Rpc(NamedTuple):
    """One rpc: how its requests are read and its answers written."""

    name: str
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    streams: bool


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    try:
        data = COMPILED.read_bytes()
    except FileNotFoundError:
        raise OrchestratorError(
            f"{COMPILED} is missing: isthmus was not installed; run pip install . or make"
        ) from None
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message, such as "ModelInferRequest"."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def enum(name: str) -> dict[str, int]:
    """An enumeration's numbers by name."""
    return {value.name: value.number for value in _pool().FindEnumTypeByName(f"{PACKAGE}.{name}").values}


def rpcs() -> tuple[Rpc, ...]:
    """All of the service."""
    return tuple(
        Rpc(
            method.name,
            message(method.input_type.name).FromString,
            message(method.output_type.name).SerializeToString,
            bool(method.server_streaming),
        )
        for method in _pool().FindServiceByName(SERVICE).methods
    )
