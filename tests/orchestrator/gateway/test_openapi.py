"""The REST paths' document: nothing is missing in it, nothing more is in it, and what is answered is what it tells."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks
from starlette.routing import Route

from orchestrator.gateway.faults import Fault
from orchestrator.gateway.openapi import document, operations
from orchestrator.gateway.permits import Permits
from orchestrator.gateway.repository import Repository
from orchestrator.gateway.rest import OPEN, IndexBody, LoadBody, RegionBody, Rest
from orchestrator.gateway.serving import Serving
from orchestrator.gateway.shared_memory import SharedMemory
from tests.orchestrator.gateway.served import Echo, Served

PATHS = 27
EXAMPLES = 25  # an operation
ALLOWED = {200, 501, 503} | set(range(400, 500))
CONFORMANCE = (
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
)
ROW = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}
MODELS = ("float32", "int64", "pair", "string", "nobody")


@pytest.fixture(scope="module")
def told(held: Served) -> dict[str, Any]:
    with urlopen(f"http://{held.http}/v2/openapi.json", timeout=20) as response:
        found: dict[str, Any] = json.load(response)
    return found


def routes() -> list[Route]:
    serving = Serving(Echo())
    return Rest(serving, Repository(serving), SharedMemory(is_allowed=True), Permits()).routes()


def test_each_route_is_in_the_document_and_nothing_else_is(told: dict[str, Any]) -> None:
    there = {(one.path, method.lower()) for one in routes() for method in one.methods or () if method != "HEAD"}
    documented = {(path, method) for path, methods in told["paths"].items() for method in methods}
    assert documented == there
    assert len(told["paths"]) == PATHS


def test_a_route_that_nothing_is_said_of_does_not_start() -> None:
    async def nothing(_request: Any) -> None:
        return None

    with pytest.raises(KeyError, match="unsaid"):
        document([Route("/v2/unsaid", nothing, name="unsaid")], operations(IndexBody, LoadBody, RegionBody))


def test_each_code_that_a_client_may_see_is_told(told: dict[str, Any]) -> None:
    infer = set(told["paths"]["/v2/models/{model}/infer"]["post"]["responses"])
    assert infer == {"200", "405"} | {str(fault.http) for fault in Fault if fault is not Fault.CANCELLED}


def test_whoever_may_look_at_all_may_read_it() -> None:
    assert "/v2/openapi.json" in OPEN


def cases() -> Iterator[tuple[str, str, GenerationMode]]:
    """Each operation as it should be; and broken where there is more than a path in it."""
    said = operations(IndexBody, LoadBody, RegionBody)
    for route in routes():
        for method in (route.methods or set()) - {"HEAD"}:
            yield method, route.path, GenerationMode.POSITIVE
            if said[route.name].body is not None:
                yield method, route.path, GenerationMode.NEGATIVE


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "mode"), [*cases()])
def test_what_is_answered_is_what_the_document_tells(
    held: Served, told: dict[str, Any], method: str, path: str, mode: GenerationMode
) -> None:
    """Requests as the document has them, and broken ones; most of them of models that there are."""
    operation = schemathesis.openapi.from_dict(told)[path][method]

    @given(case=operation.as_strategy(generation_mode=mode), model=st.sampled_from(MODELS) | st.none())
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case, model: str | None) -> None:
        if model is not None and "model" in case.path_parameters:
            case.path_parameters["model"] = model
        response = case.call(base_url=f"http://{held.http}", timeout=20)
        assert response.status_code in ALLOWED, response.content
        case.validate_response(response, checks=list(CONFORMANCE))

    ask()


@pytest.mark.parametrize(
    ("method", "path", "model", "body"),
    [
        ("POST", "/v2/models/{model}/infer", "float32", {"id": "7", "inputs": [ROW]}),
        ("POST", "/v2/models/{model}/infer", "float32", {"inputs": [ROW], "parameters": {"binary_data_output": True}}),
        ("GET", "/v2/models/{model}", "pair", None),
        ("GET", "/v2/models/{model}/config", "string", None),
        ("GET", "/v2/models/{model}/stats", "float32", None),
        ("POST", "/v2/repository/index", "", {"ready": True}),
    ],
)
def test_good_answers_are_as_told(
    held: Served, told: dict[str, Any], method: str, path: str, model: str, body: Any
) -> None:
    operation = schemathesis.openapi.from_dict(told)[path][method]
    given = {} if body is None else {"body": body, "media_type": "application/json"}
    case = operation.Case(path_parameters={"model": model} if model else {}, **given)
    response = case.call(base_url=f"http://{held.http}", timeout=20)
    assert response.status_code == 200
    case.validate_response(response, checks=list(CONFORMANCE))


@pytest.fixture(autouse=True)
def as_opened(held: Served) -> Iterator[None]:
    held.echo.let_go.set()
    yield
    held.echo.let_go.clear()
