"""REST's bodies and what they mean: JSON, with tensors behind it as raw bytes where a client wants them so.

Source: KServe's "Open Inference Protocol V2", REST; Triton's extension for binary tensor data.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from nodes.backend import Array
from orchestrator.gateway.datatypes import from_raw, from_values, to_raw, to_values
from orchestrator.gateway.faults import invalid
from orchestrator.gateway.models import Given, Question, Reply
from orchestrator.gateway.places import REGION, Places, budget_of, wanted_of
from orchestrator.gateway.shared_memory import SharedMemory

BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
Parameter = bool | int | float | str
Parameters = Annotated[dict[str, Parameter], BeforeValidator(lambda given: {} if given is None else given)]
Extent = Annotated[int, Field(ge=0, le=1 << 62)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class RequestInput(_Body):
    """One tensor of a request; without `data` it comes behind the JSON, or lies in shared memory."""

    name: str
    shape: list[Extent]
    datatype: str
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class RequestOutput(_Body):
    """One tensor that is asked for."""

    name: str
    parameters: Parameters = Field(default_factory=dict)


class InferenceRequest(_Body):
    """The JSON of POST …/infer."""

    id: str = ""
    parameters: Parameters = Field(default_factory=dict)
    inputs: list[RequestInput]
    outputs: Annotated[list[RequestOutput], BeforeValidator(lambda given: [] if given is None else given)] = Field(
        default_factory=list
    )


class Asked:
    """A request's body: its JSON with what follows it. `question` reads it, then `answer` can be given."""

    def __init__(self, body: bytes, json_bytes: int | None) -> None:
        """`json_bytes`: what Inference-Header-Content-Length says."""
        self._body, self._json_bytes = body, json_bytes
        self._request = InferenceRequest(inputs=[])
        self._rest = memoryview(b"")

    def question(self, memory: SharedMemory) -> Question:
        """What it asks. Refused for what is no sound request."""
        end = len(self._body) if self._json_bytes is None else self._json_bytes
        if end > len(self._body):
            raise invalid(f"Inference-Header-Content-Length is {end}, of a body of {len(self._body)} bytes")
        request = self._request = parsed(InferenceRequest, self._body[:end])
        self._rest, at = memoryview(self._body)[end:], 0
        given = list[Given]()
        for tensor in request.inputs:
            size = tensor.parameters.get(BINARY_SIZE)
            if size is None:
                read: Callable[[], Array] = partial(_listed, tensor, memory)
            else:
                data, at = self._behind(tensor, size, at)
                read = partial(from_raw, tensor.name, tensor.datatype, tensor.shape, data)
            given.append(Given(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape), read=read))
        if at < len(self._rest):
            raise invalid(f"{len(self._rest) - at} bytes follow that belong to no input")
        return Question(
            id=request.id,
            inputs=tuple(given),
            wanted=wanted_of(self._outputs()),
            parameters=request.parameters,
            budget_s=budget_of(request.parameters, None),
        )

    def _outputs(self) -> list[tuple[str, dict[str, Parameter]]]:
        return [(one.name, one.parameters) for one in self._request.outputs]

    def _behind(self, tensor: RequestInput, size: Any, at: int) -> tuple[memoryview, int]:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise invalid(f"input {tensor.name!r}: parameter {BINARY_SIZE}: should be a number of bytes, is {size!r}")
        if tensor.data is not None or REGION in tensor.parameters:
            raise invalid(f"input {tensor.name!r}: it is given twice, once as binary data")
        if at + size > len(self._rest):
            raise invalid(f"input {tensor.name!r}: {size} bytes are said to follow, {len(self._rest) - at} are there")
        return self._rest[at : at + size], at + size

    def answer(self, reply: Reply, memory: SharedMemory) -> tuple[bytes, int | None]:
        """The body that answers, and the length of its JSON where binary data follows."""
        wanted = dict(self._outputs())
        places = Places.among(self._outputs())
        behind: list[bytes | memoryview] = []
        outputs: list[dict[str, Any]] = []
        for output in reply.outputs:
            told: dict[str, Any] = {
                "name": output.name,
                "datatype": output.datatype,
                "shape": list(output.array.shape),
            }
            place = places.by_output.get(output.name)
            asked = wanted.get(output.name, {})
            if place is not None:
                data = to_raw(output.array, output.datatype)
                memory.write(place, data)
                told["parameters"] = {REGION: place.region, "shared_memory_byte_size": len(data)}
            elif asked.get(BINARY, self._request.parameters.get(ALL_BINARY, False)):
                behind.append(to_raw(output.array, output.datatype))
                told["parameters"] = {BINARY_SIZE: len(behind[-1])}
            else:
                told["data"] = to_values(output.name, output.array, output.datatype)
            outputs.append(told)
        head: dict[str, Any] = {"model_name": reply.model, "model_version": str(reply.version)}
        head |= {"id": reply.id} if reply.id else {}
        text = to_json(head | {"outputs": outputs})
        return (b"".join([text, *behind]), len(text)) if behind else (text, None)


def _listed(tensor: RequestInput, memory: SharedMemory) -> Array:
    place = Places.of(f"input {tensor.name!r}", tensor.parameters)
    if place is not None:
        if tensor.data is not None:
            raise invalid(f"input {tensor.name!r}: it has data, and lies in shared memory")
        return from_raw(tensor.name, tensor.datatype, tensor.shape, memory.read(place))
    if tensor.data is None:
        raise invalid(f"input {tensor.name!r} has no data")
    return from_values(tensor.name, tensor.datatype, tensor.shape, tensor.data)


def parsed(kind: type[Any], text: bytes) -> Any:
    """A body's JSON as that model. Refused, with the path of the first thing amiss."""
    try:
        plain = from_json(text, allow_inf_nan=True)
    except ValueError as error:
        raise invalid(f"the body is no JSON: {error}") from None
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        raise invalid(f"{path or 'the body'}: {first['msg']}") from None
