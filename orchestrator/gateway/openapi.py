"""The REST paths as an OpenAPI 3.1 document: made of the routes themselves and of the models that read bodies.

A route without an entry in OPERATIONS is an error as the gateway starts. What answers look like is told here and
nowhere else; tests hold it against what is answered (tests/orchestrator/gateway/test_openapi.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from nodes.code_version import code_version
from orchestrator.gateway import openapi_answers as answers
from orchestrator.gateway.faults import Fault
from orchestrator.gateway.rest_body import InferenceRequest

JSON, BINARY = "application/json", "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
LENGTH = {
    "description": "How many bytes of the body are JSON. Tensors follow, in the order in which the JSON names them.",
    "schema": {"type": "integer", "minimum": 0},
}
MEANING = {
    Fault.INVALID: "What was sent is not sound; `error` names the first thing amiss",
    Fault.UNAUTHENTICATED: "A token is needed, or the one that was sent is unknown",
    Fault.FORBIDDEN: "The token does not open this",
    Fault.NOT_FOUND: "There is no such model, version or region",
    Fault.TOO_LARGE: "The body is longer than is read here",
    Fault.TOO_MANY: "Too much was asked in too short a time",
    Fault.INTERNAL: "The stages failed",
    Fault.UNSUPPORTED: "This gateway does not do that",
    Fault.UNAVAILABLE: "Not now: time was up, a queue is full, or no healthy epoch is there",
}
OTHER_METHOD = 405
GUARDED = (Fault.UNAUTHENTICATED, Fault.FORBIDDEN, Fault.TOO_MANY, Fault.INTERNAL)
READING = (*GUARDED, Fault.INVALID, Fault.NOT_FOUND)
WRITING = (*READING, Fault.TOO_LARGE, Fault.UNSUPPORTED, Fault.UNAVAILABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route does. `unready`: it answers with 503, and the same body, where what it asks for is not so."""

    says: str
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    faults: tuple[Fault, ...] = ()
    unready: bool = False


def operations(index: type[BaseModel], load: type[BaseModel], region: type[BaseModel]) -> dict[str, Operation]:
    """By the name of the route; given are the models of rest.py's own bodies."""
    no_regions = Operation(says="A GPU's memory: there never are any regions", answer=answers.Regions, faults=READING)
    return {
        "openapi": Operation(says="This document", answer=answers.Document),
        "server": Operation(says="Of the server", answer=answers.Server),
        "live": Operation(says="Whether the server is live", answer=answers.Live, unready=True),
        "all_ready": Operation(says="Whether all models are ready", answer=answers.AllReady, unready=True),
        "metadata": Operation(says="Of a model", answer=answers.Metadata, faults=READING),
        "ready": Operation(says="Whether a model is ready", answer=answers.Ready, faults=READING, unready=True),
        "config": Operation(says="A model's configuration", answer=answers.Config, faults=READING),
        "statistics": Operation(says="What was counted", answer=answers.Statistics, faults=READING),
        "infer": Operation(says="Ask a model", answer=answers.Inference, body=InferenceRequest, faults=WRITING),
        "index": Operation(says="All models there are", answer=answers.Index, body=index, faults=WRITING),
        "load": Operation(says="Load a model", answer=answers.Nothing, body=load, faults=WRITING),
        "unload": Operation(says="Unload a model", answer=answers.Nothing, faults=WRITING),
        "regions": Operation(says="Shared memory regions", answer=answers.Regions, faults=READING),
        "no_regions": no_regions,
        "register": Operation(says="Register a region", answer=answers.Nothing, body=region, faults=WRITING),
        "unregister": Operation(says="Forget a region, or all", answer=answers.Nothing, faults=READING),
    }


def document(routes: Iterable[Route], said: dict[str, Operation]) -> dict[str, Any]:
    """The document. KeyError for a route that nothing is said of."""
    models = {one for each in said.values() for one in (each.answer, each.body) if one is not None} | {answers.Error}
    named, definitions = models_json_schema(
        [(one, "validation") for one in sorted(models, key=lambda one: one.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[Any, Any] = {each: schema for (each, _), schema in named.items()}
    paths: dict[str, Any] = {}
    for route in routes:
        operation = said[route.name]
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(route.path, {})[method.lower()] = _told(route, method, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "isthmus gateway: Open Inference Protocol", "version": code_version()},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],  # without --tokens nobody is asked for one
    }


def _told(route: Route, method: str, operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    answer = schemas[operation.answer]
    is_infer = route.name == "infer"
    good: dict[str, Any] = {"description": "As asked", "content": {JSON: {"schema": answer}}}
    if is_infer:
        good["content"][BINARY] = {}
        good["headers"] = {HEADER_LENGTH: LENGTH}
    responses: dict[str, Any] = {"200": good}
    error = {JSON: {"schema": schemas[answers.Error]}}
    for fault in operation.faults:
        responses[str(fault.http)] = {"description": MEANING[fault], "content": error}
    if operation.unready:
        responses["503"] = {"description": "It is not", "content": {JSON: {"schema": answer}}}
    responses[str(OTHER_METHOD)] = {"description": f"This path is for {method}", "content": error}
    found: dict[str, Any] = {
        "operationId": _identifier(method, route.path),
        "summary": operation.says,
        "parameters": [_parameter("path", name) for name in route.param_convertors],
        "responses": dict(sorted(responses.items())),
    }
    if is_infer:
        found["parameters"].append({"name": HEADER_LENGTH, "in": "header", "required": False, **LENGTH})
    if operation.body is not None:
        content = {JSON: {"schema": schemas[operation.body]}} | ({BINARY: {}} if is_infer else {})
        found["requestBody"] = {"required": is_infer, "content": content}
    return found


def _parameter(where: str, name: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": True, "schema": {"type": "string", "pattern": "^[^/]+$"}}


def _identifier(method: str, path: str) -> str:
    return "_".join(
        [method.lower(), *path.translate(str.maketrans("{}.", "   ")).replace(" ", "").strip("/").split("/")]
    )
