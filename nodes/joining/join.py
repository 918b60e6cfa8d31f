"""Joins a pipeline's steps into one ONNX model, whose names begin with those of their steps.

A wire that leads nowhere, ports whose types or shapes differ, and steps in a circle are refused with both ends named.
Models of several opsets become models of the newest among them.
"""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from onnx import compose, helper, version_converter

from nodes.errors import NodesError
from nodes.functions import Inferred, function
from nodes.joining import fusions, looping
from nodes.joining.steps import FunctionCall, Fusion, Loop, ModelCall, Pipeline, Step
from nodes.normalising.functions import value_info
from partitioner.errors import InvalidModel
from partitioner.graph import FUNCTION_DOMAIN

IR_VERSION = 10
OPSET = 17  # where no model says more
Types = dict[str, Inferred]


def join(pipeline: Pipeline) -> onnx.ModelProto:
    """The pipeline as one model, not yet normalised: its sources are the inputs. InvalidModel, in one line, else."""
    models = {step.name: _loaded(step, pipeline) for step in pipeline.steps if isinstance(step, ModelCall | Loop)}
    opset = max([OPSET, *(_opset(model) for model in models.values())])
    joined = helper.make_model(onnx.GraphProto(name=pipeline.name), ir_version=IR_VERSION)
    del joined.opset_import[:]
    joined.opset_import.extend([helper.make_opsetid("", opset), helper.make_opsetid(FUNCTION_DOMAIN, 1)])
    types: Types = {source.name: source.inferred for source in pipeline.sources}
    joined.graph.input.extend(value_info(source.name, source.inferred) for source in pipeline.sources)
    for step in _ordered(pipeline):
        wires = [_wire(wire, types, f"{pipeline.name}: step {step.name!r}") for wire in step.wires]
        if isinstance(step, ModelCall):
            _add_model(joined.graph, step, _at(models[step.name], opset, step, pipeline), types, pipeline)
        elif isinstance(step, Loop):
            _add_loop(joined.graph, step, _at(models[step.name], opset, step, pipeline), types, pipeline)
        elif isinstance(step, FunctionCall):
            _add_function(joined.graph, step, wires, types, pipeline)
        else:
            _add_fusion(joined.graph, step, wires, types, pipeline)
    for name, given in pipeline.outputs.items():
        wire = _wire(given, types, f"{pipeline.name}: output {name!r}")
        joined.graph.node.append(helper.make_node("Identity", [wire], [name], f"output.{name}"))
        joined.graph.output.append(value_info(name, types[wire]))
    return joined


def _ordered(pipeline: Pipeline) -> list[Step]:
    """Each step after those that feed it."""
    by_name = {step.name: step for step in pipeline.steps}
    taken = [*(source.name for source in pipeline.sources), *(step.name for step in pipeline.steps)]
    if twice := {name for name in taken if taken.count(name) > 1}:
        raise InvalidModel(f"{pipeline.name}: {min(twice)!r} is the name of two; each source and step has its own")
    feeds = {step.name: [wire.partition(".")[0] for wire in step.wires] for step in pipeline.steps}
    graph = {name: [one for one in before if one in by_name] for name, before in feeds.items()}
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise InvalidModel(f"{pipeline.name}: steps feed each other in a circle: {circle}") from None


def _wire(given: str, types: Types, reader: str) -> str:
    """The tensor that a wire leads to."""
    if given in types:
        return given
    ports = [name for name in types if name.startswith(f"{given}.")]
    if len(ports) == 1:
        return ports[0]
    if ports:
        raise InvalidModel(f"{reader} reads {given!r}, which gives {', '.join(ports)}; name one of them")
    raise InvalidModel(f"{reader} reads {given!r}, which nothing gives; there are {', '.join(types)}")


def _add_model(graph: onnx.GraphProto, step: ModelCall, model: onnx.ModelProto, types: Types, of: Pipeline) -> None:
    takes, gives = looping.ports(model)
    fed = _fed(step, takes, types, of)
    part = compose.add_prefix(model, f"{step.name}.").graph
    renamed = {f"{step.name}.{name}": wire for name, wire in fed.items()}
    for node in part.node:
        looping.rename_reads(node, renamed)
    graph.node.extend(part.node)
    graph.initializer.extend(part.initializer)
    graph.sparse_initializer.extend(part.sparse_initializer)
    types.update((f"{step.name}.{name}", kind) for name, kind in gives.items())


def _add_loop(graph: onnx.GraphProto, step: Loop, model: onnx.ModelProto, types: Types, of: Pipeline) -> None:
    if why := looping.check(step, model):
        raise InvalidModel(f"{of.name}: step {step.name!r}: {why}")
    own = {step.token, step.position, *step.state.values()}
    takes = {name: kind for name, kind in looping.ports(model)[0].items() if name not in own}
    nodes, weights = looping.looped(step, model, _fed(step, takes, types, of))
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
    types[f"{step.name}.{looping.PORT}"] = ("int64", (1, step.most))


def _fed(step: ModelCall | Loop, ports: Types, types: Types, of: Pipeline) -> dict[str, str]:
    """The tensor that feeds each of the model's inputs."""
    label = f"{of.name}: step {step.name!r}"
    for name in [*step.inputs, *ports]:
        if name not in ports:
            raise InvalidModel(f"{label} feeds {name!r}, which {step.model.name} lacks; it takes {', '.join(ports)}")
        if name not in step.inputs:
            raise InvalidModel(f"{label} feeds no {name!r}, which {step.model.name} takes")
    fed = {name: _wire(wire, types, label) for name, wire in step.inputs.items()}
    for name, wire in fed.items():
        _check_fits(f"{step.name}.{name}", ports[name], wire, types[wire], of)
    return fed


def _check_fits(port: str, wants: Inferred, wire: str, gives: Inferred, of: Pipeline) -> None:
    if wants[0] != gives[0] or not _may_be(wants[1], gives[1]):
        raise InvalidModel(f"{of.name}: {port} takes {_told(wants)}, while {wire} gives {_told(gives)}")


def _may_be(wants: Sequence[int | None], gives: Sequence[int | None]) -> bool:
    pairs = zip(wants, gives, strict=False)
    return len(wants) == len(gives) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _told(inferred: Inferred) -> str:
    return f"{inferred[0]} [{', '.join('?' if dim is None else str(dim) for dim in inferred[1])}]"


def _add_function(graph: onnx.GraphProto, step: FunctionCall, wires: list[str], types: Types, of: Pipeline) -> None:
    label = f"{of.name}: step {step.name!r}"
    try:
        known = function(step.function)
        takes = known.takes + known.takes[-1:] * (len(wires) - len(known.takes)) if known.many else known.takes
        if len(takes) != len(wires):
            raise InvalidModel(f"{label}: {step.function} takes {len(known.takes)} tensors, {len(wires)} are given")
        for dtype, wire in zip(takes, wires, strict=True):
            if dtype not in (None, types[wire][0]):
                raise InvalidModel(f"{label}: {step.function} takes {dtype}, while {wire} gives {_told(types[wire])}")
        made = known.infer(step.params, *(types[wire][1] for wire in wires))
    except (NodesError, TypeError, IndexError) as error:
        raise InvalidModel(f"{label}: {error}") from None
    outputs = [f"{step.name}.{port}" for port in known.outputs]
    graph.node.append(
        helper.make_node(step.function, wires, outputs, step.name, domain=FUNCTION_DOMAIN, **dict(step.params))
    )
    types.update(zip(outputs, made, strict=True))


def _add_fusion(graph: onnx.GraphProto, step: Fusion, wires: list[str], types: Types, of: Pipeline) -> None:
    given = [types[wire] for wire in wires]
    try:
        why = fusions.check(step.fusion, step.params, given)
        if why is not None:
            raise InvalidModel(f"{of.name}: step {step.name!r}: {why}; it reads {', '.join(wires)}")
        nodes, constants = fusions.fused(step.fusion, step.name, wires, {**step.params, "width": given[0][1][1] or 1})
    except NodesError as error:
        raise InvalidModel(f"{of.name}: step {step.name!r}: {error}") from None
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    types[f"{step.name}.{fusions.PORT}"] = fusions.shape_of(step.fusion, given)


def _loaded(step: ModelCall | Loop, of: Pipeline) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError

    path: Path = step.model
    try:
        return onnx.load(path)
    except (OSError, DecodeError) as error:
        raise InvalidModel(f"{of.name}: step {step.name!r}: {path} can't be read as ONNX: {error}") from None


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=OPSET)


def _at(model: onnx.ModelProto, opset: int, step: ModelCall | Loop, of: Pipeline) -> onnx.ModelProto:
    if _opset(model) == opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except RuntimeError as error:
        raise InvalidModel(
            f"{of.name}: step {step.name!r}: {step.model.name} is of opset {_opset(model)} and can't become one of "
            f"{opset}, as another is: {' '.join(str(error).split())[:120]}"
        ) from None
