"""Fixes the shapes of inputs and finds that of every activation: by inference, else by running the model once."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from nodes.backend import Array
from nodes.functions import Inferred
from nodes.held import dtype_of
from nodes.normalising.evaluate import Values
from nodes.normalising.functions import Types, outer_reads, type_of, value_info
from nodes.normalising.inference import infer
from nodes.normalising.source import graphs
from partitioner.errors import InvalidModel

# Operators whose outputs' shapes depend on values, not on shapes.
DATA_DEPENDENT = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression", "If", "Loop"})


def fix_inputs(
    inputs: Sequence[onnx.ValueInfoProto],
    shapes: Mapping[str, tuple[int, ...]],
    samples: Mapping[str, Array],
    label: str,
) -> None:
    """Give every input, in place, the shape asked for, else that of its sample, else the one it states.

    InvalidModel for an unknown name, a shape or sample that contradicts the model, or a free dimension left over.
    """
    names = [entry.name for entry in inputs]
    for name in [*shapes, *samples]:
        if name not in names:
            raise InvalidModel(f"{label} has no input {name!r}; it has {', '.join(names)}")
    for entry in inputs:
        dtype, declared = type_of(entry)
        wanted = shapes.get(entry.name, samples[entry.name].shape if entry.name in samples else None)
        known = (dtype, _fixed(entry, declared, wanted, label))
        _check_sample(entry.name, samples, known, label)
        entry.CopyFrom(value_info(entry.name, known))


def forget_shapes(graph: onnx.GraphProto) -> None:
    """Drop what the source claims of shapes inside: it was made for free dimensions, or is wrong."""
    for inner in graphs(graph):
        del inner.value_info[:]
    for entry in graph.output:
        if entry.type.HasField("tensor_type"):
            entry.type.tensor_type.ClearField("shape")


def _fixed(
    entry: onnx.ValueInfoProto, declared: Sequence[int | None], wanted: Sequence[int] | None, label: str
) -> tuple[int, ...]:
    ranked = entry.type.tensor_type.HasField("shape")
    if wanted is None:
        if not ranked:
            raise InvalidModel(f"{label}: input {entry.name!r} has no shape; {_way_out(entry.name, (1,))}")
        for index, dim in enumerate(declared):
            if dim is None:
                named = entry.type.tensor_type.shape.dim[index].dim_param or index
                way_out = _way_out(entry.name, tuple(1 if dim is None else dim for dim in declared))
                raise InvalidModel(f"{label}: dimension {named} of input {entry.name!r} is free; {way_out}")
        return tuple(dim for dim in declared if dim is not None)
    agrees = len(wanted) == len(declared) and all(
        want >= 0 and have in (None, want) for want, have in zip(wanted, declared, strict=True)
    )
    if ranked and not agrees:
        have = ["?" if dim is None else dim for dim in declared]
        raise InvalidModel(f"{label}: input {entry.name!r} takes {have}, shape {list(wanted)} was given")
    return tuple(wanted)


def _way_out(name: str, example: tuple[int, ...]) -> str:
    spelled = "x".join(map(str, example))
    return f"give a sample shape: --shape {name}={spelled}, or in a spec inputs: {{{name}: {{shape: {list(example)}}}}}"


def _check_sample(name: str, samples: Mapping[str, Array], known: Inferred, label: str) -> None:
    if name in samples and (dtype_of(samples[name]), samples[name].shape) != known:
        have = f"{dtype_of(samples[name])} {list(samples[name].shape)}"
        raise InvalidModel(f"{label}: the sample of {name!r} is {have}, the input {known[0]} {list(known[1])}")


def complete(core: onnx.ModelProto, values: Values, loose: Iterable[str]) -> tuple[Types, set[str]]:
    """Types of every activation of the core, and which of them depend on the data, their shapes from the sample.

    `loose` are the core's inputs whose shapes depend on the data.
    """
    inferred = infer(core)
    types = {
        entry.name: type_of(entry)
        for entry in [*inferred.input, *inferred.value_info, *inferred.output]
        if entry.type.tensor_type.HasField("shape")
    }
    made = [name for node in core.graph.node for name in node.output if name]
    unknown = [name for name in made if name not in types or None in types[name][1]]
    dynamic = set(loose)
    for node in core.graph.node:
        if node.op_type in DATA_DEPENDENT or dynamic & outer_reads(node):
            dynamic.update(name for name in node.output if name in unknown)
    if unknown:
        for name, value in values.run_core(unknown).items():
            if not isinstance(value, np.ndarray):
                raise InvalidModel(f"{values.label}: {name!r} is a {type(value).__name__}, not a tensor")
            types[name] = (dtype_of(value), value.shape)
    return types, dynamic
