"""Joins a pipeline's steps into one ONNX model, whose names begin with those of their steps.

A wire that leads nowhere, ports whose types or shapes differ, and steps in a circle are refused with both ends named.
Models of several opsets become models of the newest among them. Steps that run the same model share its weights.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256

import onnx
from onnx import compose, helper, version_converter

from nodes.errors import NodesError
from nodes.functions import Inferred, function
from nodes.joining import fusions, looping
from nodes.joining.ordering import BatchedCall, ordered
from nodes.joining.steps import Called, FunctionCall, Fusion, Loop, ModelCall, Pipeline
from nodes.normalising.functions import value_info
from nodes.normalising.saving import is_external
from partitioner.errors import InvalidModel
from partitioner.graph import FUNCTION_DOMAIN

IR_VERSION = 10
OPSET = 17  # where no model says more
Types = dict[str, Inferred]


def join(pipeline: Pipeline) -> onnx.ModelProto:
    """The pipeline as one model, not yet normalised: its sources are the inputs. InvalidModel, in one line, else."""
    return _Joining(pipeline).joined()


class _Joining:
    """One pipeline being joined: `types` of the tensors made so far, and who brought each model's weights."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._of = pipeline
        self._digests: dict[str, str] = {}  # step → its model's SHA-256
        self._models: dict[str, onnx.ModelProto] = {}
        for step in pipeline.steps:
            if isinstance(step, ModelCall | Loop):
                self._load(step)
        self._opset = max([OPSET, *(_opset(model) for model in self._models.values())])
        self._types: Types = {source.name: source.inferred for source in pipeline.sources}
        self._bearers: dict[str, str] = {}  # a model's SHA-256 → the step under whose name its weights are
        self._proto = helper.make_model(onnx.GraphProto(name=pipeline.name), ir_version=IR_VERSION)
        self._graph = self._proto.graph

    def joined(self) -> onnx.ModelProto:
        """All of it."""
        del self._proto.opset_import[:]
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(FUNCTION_DOMAIN, 1)]
        self._proto.opset_import.extend(opsets)
        self._graph.input.extend(value_info(source.name, source.inferred) for source in self._of.sources)
        for step in ordered(self._of, self._digests):
            match step:
                case ModelCall():
                    self._add_model(step)
                case BatchedCall():
                    self._add_batched(step)
                case Loop():
                    self._add_loop(step)
                case FunctionCall():
                    self._add_function(step)
                case Fusion():
                    self._add_fusion(step)
        for name, given in self._of.outputs.items():
            wire = self._wire(given, self._of.told("output", name))
            self._graph.node.append(helper.make_node("Identity", [wire], [name], f"output.{name}"))
            self._graph.output.append(value_info(name, self._types[wire]))
        return self._proto

    def _wire(self, given: str, reader: str) -> str:
        """The tensor that a wire leads to."""
        if given in self._types:
            return given
        ports = [name for name in self._types if name.startswith(f"{given}.")]
        if len(ports) == 1:
            return ports[0]
        if ports:
            raise InvalidModel(f"{reader} reads {given!r}, which gives {', '.join(ports)}; name one of them")
        later = [
            step.name for step in self._of.steps if not any(one.startswith(f"{step.name}.") for one in self._types)
        ]
        there = [*self._types, *(name for name in later if self._of.told("step", name) != reader)]
        near = get_close_matches(given, there, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidModel(f"{reader} reads {given!r}, which nothing gives; there are {', '.join(there)}{meant}")

    def _wires(self, step: FunctionCall | Fusion) -> list[str]:
        return [self._wire(wire, self._of.told("step", step.name)) for wire in step.wires]

    def _add_model(self, step: ModelCall) -> None:
        model = self._current(step)
        takes, gives = looping.ports(model)
        self._place(step.name, model, self._fed(step, takes))
        self._types.update((f"{step.name}.{name}", kind) for name, kind in gives.items())

    def _place(self, name: str, model: onnx.ModelProto, fed: Mapping[str, str]) -> None:
        """A model's operators, as step `name`."""
        part = compose.add_prefix(model, f"{name}.").graph
        renamed = {f"{name}.{port}": wire for port, wire in fed.items()}
        self._bring(name, part.node, part.initializer, renamed)
        self._graph.sparse_initializer.extend(part.sparse_initializer)

    def _bring(
        self, name: str, nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto], fed: Mapping[str, str]
    ) -> None:
        """Operators of a model with its weights, or with those of the step that brought the same before."""
        bearer = self._bearers.setdefault(self._digests[name], name)
        own, before = f"{name}.", {tensor.name for tensor in self._graph.initializer} if bearer != name else set()
        there = {tensor.name: f"{bearer}.{tensor.name.removeprefix(own)}" for tensor in weights}
        shared = {mine: theirs for mine, theirs in there.items() if theirs in before}
        for node in nodes:
            looping.rename_reads(node, {**fed, **shared})
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(tensor for tensor in weights if tensor.name not in shared)

    def _add_batched(self, call: BatchedCall) -> None:
        """One run for several steps: their inputs one below the other, its outputs cut apart again."""
        first = call.steps[0]
        model = self._current(first)
        takes, gives = looping.ports(model)
        fed = [self._fed(step, takes) for step in call.steps]
        rows = [self._rows(step, one, {**takes, **gives}) for step, one in zip(call.steps, fed, strict=True)]
        below = {}
        for port in takes:
            below[port] = f"{call.name}.{port}.rows"
            wires = [one[port] for one in fed]
            self._graph.node.append(helper.make_node("Concat", wires, [below[port]], below[port], axis=0))
        self._digests[call.name] = self._digests[first.name]
        self._place(call.name, model, below)
        sizes = f"{call.name}.sizes"
        self._graph.initializer.append(helper.make_tensor(sizes, onnx.TensorProto.INT64, [len(rows)], rows))
        for port, (dtype, shape) in gives.items():
            apart = [f"{step.name}.{port}" for step in call.steps]
            reads = [f"{call.name}.{port}", sizes]
            self._graph.node.append(helper.make_node("Split", reads, apart, f"{reads[0]}.apart", axis=0))
            own = zip(apart, rows, strict=True)
            self._types.update((name, (dtype, (count, *shape[1:]))) for name, count in own)

    def _rows(self, step: ModelCall, fed: Mapping[str, str], ports: Types) -> int:
        """How many rows a step runs the model for."""
        label, counts = self._of.told("step", step.name), {self._types[wire][1][:1] for wire in fed.values()}
        for port, (_, shape) in ports.items():
            if not shape or shape[0] is not None:
                told = f"{step.model.name} has {port} of {_told(ports[port])}"
                raise InvalidModel(f"{label}: {told}; to be batched, its first axis must be free")
        if len(counts) != 1 or None in (count := next(iter(counts))) or not count:
            told = ", ".join(f"{wire} {_told(self._types[wire])}" for wire in fed.values())
            raise InvalidModel(f"{label}: to be batched, what it reads has one known number of rows, not {told}")
        return int(count[0] or 0)

    def _add_loop(self, step: Loop) -> None:
        model = self._current(step)
        if why := looping.check(step, model):
            raise InvalidModel(f"{self._of.told('step', step.name)}: {why}")
        own = {step.token, step.position, *step.state.values()}
        takes = {name: kind for name, kind in looping.ports(model)[0].items() if name not in own}
        nodes, weights = looping.looped(step, model, self._fed(step, takes))
        self._bring(step.name, nodes, weights, {})
        self._types[f"{step.name}.{looping.PORT}"] = ("int64", (1, step.most))

    def _fed(self, step: ModelCall | Loop, ports: Types) -> dict[str, str]:
        """The tensor that feeds each of the model's inputs."""
        label, inputs = self._of.told("step", step.name), step.inputs
        if isinstance(inputs, str):
            inputs = dict.fromkeys(ports, inputs) if len(ports) == 1 else {name: f"{inputs}.{name}" for name in ports}
        for name in [*inputs, *ports]:
            if name not in ports:
                raise InvalidModel(
                    f"{label} feeds {name!r}, which {step.model.name} lacks; it takes {', '.join(ports)}"
                )
            if name not in inputs:
                raise InvalidModel(f"{label} feeds no {name!r}, which {step.model.name} takes")
        fed = {name: self._wire(wire, label) for name, wire in inputs.items()}
        for name, wire in fed.items():
            wants, gives = ports[name], self._types[wire]
            if wants[0] != gives[0] or not _may_be(wants[1], gives[1]):
                port = f"{step.name}.{name}"
                before = f"{label}: " if self._of.where else f"{self._of.name}: "
                raise InvalidModel(f"{before}{port} takes {_told(wants)}, while {wire} gives {_told(gives)}")
        return fed

    def _add_function(self, step: FunctionCall) -> None:
        label, wires, types = self._of.told("step", step.name), self._wires(step), self._types
        try:
            known = function(step.function)
            if why := known.unknown(step.params):
                raise InvalidModel(f"{label}: {step.function} {why}")
            takes = known.takes + known.takes[-1:] * (len(wires) - len(known.takes)) if known.many else known.takes
            if len(takes) != len(wires):
                raise InvalidModel(f"{label}: {step.function} takes {len(known.takes)} tensors, {len(wires)} are given")
            for dtype, wire in zip(takes, wires, strict=True):
                if dtype not in (None, types[wire][0]):
                    told = f"{step.function} takes {dtype}, while {wire} gives {_told(types[wire])}"
                    raise InvalidModel(f"{label}: {told}")
            made = known.infer(step.params, *(types[wire][1] for wire in wires))
        except (NodesError, TypeError, IndexError) as error:
            raise InvalidModel(f"{label}: {error}") from None
        outputs = [f"{step.name}.{port}" for port in known.outputs]
        about = dict(step.params)
        node = helper.make_node(step.function, wires, outputs, step.name, domain=FUNCTION_DOMAIN, **about)
        self._graph.node.append(node)
        types.update(zip(outputs, made, strict=True))

    def _add_fusion(self, step: Fusion) -> None:
        label, wires = self._of.told("step", step.name), self._wires(step)
        given = [self._types[wire] for wire in wires]
        try:
            why = fusions.check(step.fusion, step.params, given)
            if why is not None:
                raise InvalidModel(f"{label}: {why}; it reads {', '.join(wires)}")
            about = {**step.params, "width": given[0][1][1] or 1}
            nodes, constants = fusions.fused(step.fusion, step.name, wires, about)
        except NodesError as error:
            raise InvalidModel(f"{label}: {error}") from None
        self._graph.node.extend(nodes)
        self._graph.initializer.extend(constants)
        self._types[f"{step.name}.{fusions.PORT}"] = fusions.shape_of(step.fusion, given)

    def _load(self, step: Called) -> None:
        from google.protobuf.message import DecodeError

        try:
            content = step.model.read_bytes()
            model = onnx.load_model_from_string(content)
            if is_external(model):
                content += bytes(step.model.resolve())  # of weights in other files only the place is known
                onnx.load_external_data_for_model(model, str(step.model.parent))
        except (OSError, DecodeError) as error:
            label = self._of.told("step", step.name)
            raise InvalidModel(f"{label}: {step.model} can't be read as ONNX: {error}") from None
        self._models[step.name], self._digests[step.name] = model, sha256(content).hexdigest()

    def _current(self, step: Called) -> onnx.ModelProto:
        """The step's model, of the pipeline's opset."""
        model = self._models[step.name]
        if _opset(model) == self._opset:
            return model
        try:
            return version_converter.convert_version(model, self._opset)
        except RuntimeError as error:
            raise InvalidModel(
                f"{self._of.told('step', step.name)}: {step.model.name} is of opset {_opset(model)} and can't become "
                f"one of {self._opset}, as another is: {' '.join(str(error).split())[:120]}"
            ) from None


def _may_be(wants: Sequence[int | None], gives: Sequence[int | None]) -> bool:
    pairs = zip(wants, gives, strict=False)
    return len(wants) == len(gives) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def _told(inferred: Inferred) -> str:
    return f"{inferred[0]} [{', '.join('?' if dim is None else str(dim) for dim in inferred[1])}]"


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=OPSET)
