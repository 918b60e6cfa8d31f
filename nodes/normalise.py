"""Makes any valid ONNX model one that every engine reads and planning can cut.

Shapes fixed, constants folded, every activation's shape stated, every name unique, unused opset domains gone. What the
model computes, its inputs' and outputs' names and its metadata stay. Weights of 1 MiB and more are never copied, and
those in external files never read. Controller only: imports onnx and ONNX Runtime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from nodes.backend import Array
from nodes.held import dtype_of
from nodes.normalising import functions, names
from nodes.normalising.assemble import assemble
from nodes.normalising.evaluate import Evaluator, Values
from nodes.normalising.fold import fold
from nodes.normalising.saving import save
from nodes.normalising.shapes import complete, fix_inputs, forget_shapes
from nodes.normalising.source import Source, read

NORMALISED_KEY = "isthmus.normalised"  # metadata: this file went through here, under this form's number
FORM = "1"
DYNAMIC_KEY = "isthmus.dynamic"  # metadata: activations whose stated shape is only that of a sample, comma-separated


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised model. `operators` maps its operators to those of the source, where one is known.

    External weights lie at their locations below `directory`.
    """

    proto: onnx.ModelProto
    directory: Path | None
    operators: Mapping[str, str]

    def save(self, path: Path) -> Path:
        """Write the model, whole or not at all; external weights are linked, else copied, beside it."""
        return save(self.proto, self.directory, path)


def is_normalised(path: Path) -> bool:
    """Whether the file is already what `normalise` makes. InvalidModel if it is no ONNX file."""
    properties = {entry.key: entry.value for entry in read(path, None).proto.metadata_props}
    return properties.get(NORMALISED_KEY) == FORM


def normalise(
    source: Path | onnx.ModelProto,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    samples: Mapping[str, Array] | None = None,
    directory: Path | None = None,
) -> Normalised:
    """Normalise a model file, or a small model in memory whose external weights lie in `directory`.

    `shapes` fixes inputs by name; `samples` gives example inputs, which fix shapes too and are run where a shape
    depends on the data (pictures to decode, say). InvalidModel with one line for a model that cannot be planned with,
    UnsupportedOperator for an operator that ONNX Runtime lacks.
    """
    return _normalise(read(source, directory), shapes or {}, samples or {})


def _normalise(source: Source, wanted: Mapping[str, tuple[int, ...]], samples: Mapping[str, Array]) -> Normalised:
    graph, label = source.proto.graph, source.label
    origins = names.origins(graph)
    declared = {entry.name: functions.type_of(entry) for entry in graph.input}
    fix_inputs([entry for entry in graph.input if entry.name not in source.heavy], wanted, samples, label)
    nominal = {entry.name: functions.type_of(entry) for entry in graph.input}
    varying = functions.varying_inputs(graph, declared)
    types = nominal | {name: declared[name] for name in varying}
    split = functions.split(source.proto, types, label)
    dynamic = varying | {name for node in split.functions for name in node.output if None in types[name][1]}
    core = split.core
    if core is not None:
        forget_shapes(core.graph)
        core = fold(core, label)
    values = Values(Evaluator(core, split.functions, nominal, label), samples)
    if core is not None:
        found, dynamic = complete(core, values, dynamic)
        types.update(found)
    for name in sorted(dynamic):
        types[name] = (dtype_of(values.value(name)), values.value(name).shape)
    result = assemble(source, core, split.functions, types)
    renamed = names.rename(result.graph, origins)
    if dynamic:
        listed = ",".join(renamed.tensors[name] for name in sorted(dynamic))
        result.metadata_props.add(key=DYNAMIC_KEY, value=listed)
    result.metadata_props.add(key=NORMALISED_KEY, value=FORM)
    return Normalised(result, source.directory, renamed.operators)
