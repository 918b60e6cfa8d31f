"""A normalised model at several lengths of its inputs: what of it depends on which.

Normalising fixes shapes, and folds what follows of them into weights. So the model is normalised at every length, and
the results are compared: the same operators, and of some tensors another shape, of some weights other values. That
goes along with the model of the largest length, which is what is planned with, in its metadata. A model whose
operators differ is refused, with the operator's name. Controller only: imports onnx.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from nodes.backend import Array
from partitioner.errors import InvalidModel

RAGGED_KEY = "isthmus.lengths"  # metadata of the model of the largest length
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ragged:
    """What differs from length to length, a value for each, the largest last; tensors that never do are left out.

    `cuts` are weights of which a shorter length takes the beginning, of these shapes; `tables` weights of one shape
    whose values differ.
    """

    count: int
    shapes: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    cuts: Mapping[str, tuple[Shape, ...]] = field(default_factory=dict)
    tables: Mapping[str, tuple[Array, ...]] = field(default_factory=dict)

    def free(self, name: str, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The shape of an activation, None where it depends on the length."""
        if name not in self.shapes:
            return tuple(shape)
        dims = zip(shape, zip(*self.shapes[name], strict=True), strict=True)
        return tuple(dim if len(set(each)) == 1 else None for dim, each in dims)


def compared(models: Sequence[ModelProto], told: Sequence[str]) -> Ragged:
    """What differs between one model normalised at several lengths, the largest last. `told` names them in errors.

    InvalidModel where more differs than shapes and weights that follow of them.
    """
    largest = models[-1]
    tensors = [{each.name: each for each in model.graph.initializer} for model in models]
    for model, own, length in zip(models, tensors, told, strict=True):
        _check_alike(model, largest, f"at {length} it", f"at {told[-1]}")
        if missing := set(own) ^ set(tensors[-1]):
            raise InvalidModel(f"at {length} it has other weights than at {told[-1]}: {min(missing)}")
    shapes = [_shapes(model) for model in models]
    cuts, tables = dict[str, tuple[Shape, ...]](), dict[str, tuple[Array, ...]]()
    for name, last in tensors[-1].items():
        every = [own[name] for own in tensors]
        if len({each.SerializeToString(deterministic=True) for each in every}) == 1:
            continue
        values = tuple(_values(each) for each in every)
        if len({value.shape for value in values}) == 1:
            tables[name] = values
        elif all(_begins(value, values[-1]) for value in values):
            cuts[name] = tuple(value.shape for value in values)
        else:
            raise InvalidModel(f"weight {last.name} is another at {told[0]} than at {told[-1]}, and no part of it")
    varying = {name: tuple(own[name] for own in shapes) for name in shapes[-1]}
    return Ragged(
        count=len(models),
        shapes={name: each for name, each in varying.items() if len(set(each)) > 1},
        cuts=cuts,
        tables=tables,
    )


def _check_alike(model: ModelProto, other: ModelProto, here: str, there: str) -> None:
    """The same operators, of the same attributes, in the same order."""
    for own, his in zip(model.graph.node, other.graph.node, strict=False):
        if own.SerializeToString(deterministic=True) != his.SerializeToString(deterministic=True):
            raise InvalidModel(f"{here} has another operator than {there}: {own.op_type} {own.name!r}")
    if len(model.graph.node) != len(other.graph.node):
        raise InvalidModel(f"{here} has {len(model.graph.node)} operators, {len(other.graph.node)} {there}")
    names = [[each.name for each in (*one.graph.input, *one.graph.output)] for one in (model, other)]
    if names[0] != names[1] or set(_shapes(model)) != set(_shapes(other)):
        raise InvalidModel(f"{here} has other tensors than {there}")
    for name, shape in _shapes(model).items():
        if len(shape) != len(_shapes(other)[name]):
            raise InvalidModel(f"{here} has another number of dimensions than {there}: tensor {name!r}")


def _shapes(model: ModelProto) -> dict[str, Shape]:
    graph = model.graph
    return {
        each.name: tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim)
        for each in (*graph.value_info, *graph.input, *graph.output)
    }


def _values(tensor: TensorProto) -> Array:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InvalidModel(f"weight {tensor.name} depends on the length, and lies in a file of its own")
    return np.asarray(numpy_helper.to_array(tensor))


def _begins(value: Array, whole: Array) -> bool:
    if value.ndim != whole.ndim or value.dtype != whole.dtype:
        return False
    return np.array_equal(value, whole[tuple(slice(extent) for extent in value.shape)])


def attach(model: ModelProto, ragged: Ragged) -> None:
    """Have the model carry this along."""
    told = {
        "count": ragged.count,
        "shapes": ragged.shapes,
        "cuts": ragged.cuts,
        "tables": {name: [_packed(value) for value in values] for name, values in ragged.tables.items()},
    }
    model.metadata_props.add(key=RAGGED_KEY, value=json.dumps(told, sort_keys=True))


def attached(model: ModelProto) -> Ragged | None:
    """What a model carries along; None where it has one length."""
    told = next((json.loads(entry.value) for entry in model.metadata_props if entry.key == RAGGED_KEY), None)
    if told is None:
        return None
    return Ragged(
        count=told["count"],
        shapes={name: tuple(map(tuple, each)) for name, each in told["shapes"].items()},
        cuts={name: tuple(map(tuple, each)) for name, each in told["cuts"].items()},
        tables={name: tuple(map(_unpacked, each)) for name, each in told["tables"].items()},
    )


def _packed(value: Array) -> str:
    return b64encode(numpy_helper.from_array(value).SerializeToString()).decode()


def _unpacked(text: str) -> Array:
    return np.asarray(numpy_helper.to_array(TensorProto.FromString(b64decode(text))))


def at_length(model: ModelProto, ragged: Ragged, place: int) -> ModelProto:
    """The model, or a part of it, as it is at one of the lengths."""
    made = ModelProto()
    made.CopyFrom(model)
    for entry in (*made.graph.value_info, *made.graph.input, *made.graph.output):
        for dim, extent in zip(
            entry.type.tensor_type.shape.dim, ragged.shapes.get(entry.name, ((),) * ragged.count)[place], strict=False
        ):
            dim.dim_value = extent
    for tensor in made.graph.initializer:
        name = tensor.name
        if name in ragged.tables:
            tensor.CopyFrom(numpy_helper.from_array(ragged.tables[name][place], name))
        elif name in ragged.cuts:
            part = numpy_helper.to_array(tensor)[tuple(slice(extent) for extent in ragged.cuts[name][place])]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(part), name))
    return made
