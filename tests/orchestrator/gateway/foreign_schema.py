"""Prints tritonclient's messages: each one's fields with number, type and whether repeated. Run by its own Python."""

import json
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2


def fields(message: Any) -> dict[str, list[Any]]:
    """By name."""
    return {one.name: [one.number, one.type, one.is_repeated] for one in message.fields}


found: dict[str, dict[str, list[Any]]] = {}
for file in (service_pb2, model_config_pb2):
    for name, message in file.DESCRIPTOR.message_types_by_name.items():
        found[name] = fields(message)
        found |= {f"{name}.{inner.name}": fields(inner) for inner in message.nested_types}
print(json.dumps(found))  # noqa: T201 - that is what it is for
