"""ModelInfer's messages and what they mean: questions of requests, responses of replies."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from nodes.backend import Array
from orchestrator.gateway.datatypes import from_raw, from_values, to_raw
from orchestrator.gateway.faults import invalid
from orchestrator.gateway.messages import message
from orchestrator.gateway.models import Given, Question, Reply
from orchestrator.gateway.places import Places, budget_of, wanted_of
from orchestrator.gateway.shared_memory import Place, SharedMemory

_FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
_AS = {"int_contents": np.int32, "int64_contents": np.int64, "uint_contents": np.uint32, "uint64_contents": np.uint64,
       "fp32_contents": np.float32, "fp64_contents": np.float64, "bool_contents": np.bool_}  # fmt: skip


def parameters_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """A map of parameters as plain values; those that are of no kind known here are left out."""
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], kind) for name, kind in kinds.items() if kind is not None}


def question_of(request: Any, memory: SharedMemory, remaining_s: float | None = None) -> Question:
    """What a ModelInferRequest asks. Refused, in one line, for one that is not sound.

    `remaining_s`: what is left of the call's deadline.
    """
    raw, given = iter(request.raw_input_contents), list[Given]()
    is_raw = bool(request.raw_input_contents)
    for tensor in request.inputs:
        place = Places.of(f"input {tensor.name!r}", parameters_of(tensor.parameters))
        has_contents = tensor.HasField("contents")
        if has_contents and (place is not None or is_raw):
            other = "it lies in shared memory" if place is not None else "raw_input_contents"
            raise invalid(f"input {tensor.name!r}: contents and {other} can't be given together")
        if place is not None:
            read = partial(_from_memory, tensor, memory, place)
        elif is_raw:
            data = next(raw, None)
            if data is None:
                raise invalid(f"input {tensor.name!r}: raw_input_contents has no bytes for it")
            read = partial(from_raw, tensor.name, tensor.datatype, tensor.shape, data)
        else:
            read = partial(_from_contents, tensor)
        given.append(Given(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape), read=read))
    if next(raw, None) is not None:
        raise invalid("raw_input_contents has more than there are inputs that need one")
    parameters = parameters_of(request.parameters)
    return Question(
        id=request.id,
        inputs=tuple(given),
        wanted=wanted_of(_outputs(request)),
        parameters=parameters,
        budget_s=budget_of(parameters, remaining_s),
    )


def _outputs(request: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(one.name, parameters_of(one.parameters)) for one in request.outputs]


def _from_memory(tensor: Any, memory: SharedMemory, place: Place) -> Array:
    return from_raw(tensor.name, tensor.datatype, tensor.shape, memory.read(place))


def _from_contents(tensor: Any) -> Array:
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        return from_raw(tensor.name, tensor.datatype, tensor.shape, b"")  # FP16, BF16: raw only; or no datatype at all
    values = getattr(tensor.contents, field)
    if field == "bytes_contents":
        return from_values(tensor.name, tensor.datatype, tensor.shape, list(values))
    return from_values(tensor.name, tensor.datatype, tensor.shape, np.array(values, _AS[field]))


def response_of(reply: Reply, request: Any, memory: SharedMemory) -> Any:
    """The ModelInferResponse to that request; tensors go raw, or into shared memory."""
    places = Places.among(_outputs(request))
    response = message("ModelInferResponse")(model_name=reply.model, model_version=str(reply.version), id=reply.id)
    for output in reply.outputs:
        told = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.array.shape)
        data = to_raw(output.array, output.datatype)
        place = places.by_output.get(output.name)
        if place is None:
            response.raw_output_contents.append(bytes(data))
        else:
            memory.write(place, data)
            told.parameters["shared_memory_region"].string_param = place.region
            told.parameters["shared_memory_byte_size"].int64_param = len(data)
            if place.offset:
                told.parameters["shared_memory_offset"].int64_param = place.offset
    return response
