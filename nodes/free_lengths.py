"""A stage's model that takes every one of its deployment's lengths, as they come.

What depends on the length is worked out from an input's shape: a weight's beginning is cut, another is picked from a
table, a shape is put together. The result is held against the model at each length, and refused where it says
otherwise. Controller only: imports onnx and ONNX Runtime.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from nodes.backend import Array, Session, load_backend
from nodes.errors import NodesError
from nodes.length_names import length_name
from nodes.normalising.shapes import forget_shapes
from nodes.ragged import Ragged, at_length
from nodes.rebatch import SAMPLED, SHAPED, allows_zero, free_shapes, near, row_count, with_free_rows
from nodes.timing import sample_feeds
from partitioner.errors import InvalidModel
from partitioner.load import outer_reads

SLICES = 10  # the opset from which Slice takes its ends as a tensor
Extents = tuple[int, ...]  # of one dimension, at each length


def with_free_lengths(model: Path, ragged: Ragged, *, free_rows: bool = False) -> Path:
    """Have the model in the file take every length, and any number of rows with `free_rows`.

    InvalidModel, and the file as it was, if it can't.
    """
    proto = onnx.load(model, load_external_data=False)
    if not _depends(proto, ragged):
        return with_free_rows(model) if free_rows else model
    rows = row_count(proto, model) if free_rows else None
    _Freed(proto, ragged, rows).rewrite()
    freed = model.with_name(f"{model.stem}.lengths.onnx")
    try:
        onnx.save(proto, freed)
        _check(model, ragged, freed, SAMPLED if free_rows else 1)
    except (InvalidModel, NodesError) as refused:
        freed.unlink(missing_ok=True)
        raise InvalidModel(f"{model.name} does not take every length: {refused}") from None
    return freed.replace(model)


def _depends(proto: ModelProto, ragged: Ragged) -> bool:
    graph = proto.graph
    known = {*ragged.shapes, *ragged.cuts, *ragged.tables}
    made = (name for node in graph.node for name in (*outer_reads(node), *node.output))
    return not known.isdisjoint({*made, *(entry.name for entry in graph.input)})


class _Freed:
    """The graph while what depends on the length is made to follow from an input's shape.

    What is new comes first in the graph, as it reads inputs and weights only, and bears names of its own; a weight that
    is worked out keeps its name, so that whoever reads it, a body's operators too, goes on to do so.
    """

    def __init__(self, proto: ModelProto, ragged: Ragged, rows: int | None) -> None:
        self._proto, self._graph, self._ragged, self._rows = proto, proto.graph, ragged, rows
        self._first: list[NodeProto] = []
        self._made: list[onnx.TensorProto] = []
        self._extents: dict[Extents, str] = {}
        self._place = ""
        self._stated = {
            entry.name: tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
            for entry in (*self._graph.value_info, *self._graph.input, *self._graph.output)
        }

    def rewrite(self) -> None:
        """Do so, in place."""
        graph, ragged = self._graph, self._ragged
        for node in graph.node:
            if node.op_type in SHAPED and node.input[1] in ragged.tables and not allows_zero(node):
                node.input[1] = self._shape(node)
        read = {name for node in graph.node for name in outer_reads(node)}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        for tensor in kept:
            if tensor.name in ragged.tables:
                self._picked(np.stack(ragged.tables[tensor.name]), tensor.name)
            elif tensor.name in ragged.cuts:
                self._cut(tensor)
            else:
                graph.initializer.append(tensor)
        graph.initializer.extend(self._made)
        if self._rows is not None:
            free_shapes(self._proto, self._rows)
        forget_shapes(graph)
        for entry in graph.input:
            self._free(entry)
        rest = list(graph.node)
        del graph.node[:]
        graph.node.extend([*self._first, *rest])

    def _free(self, entry: onnx.ValueInfoProto) -> None:
        for axis, (dim, extents) in enumerate(
            zip(entry.type.tensor_type.shape.dim, self._dims(entry.name), strict=True)
        ):
            if axis == 0 and self._rows is not None:
                dim.dim_param = "rows"
            elif len(set(extents)) > 1:
                dim.dim_param = length_name(extents)

    def _dims(self, name: str) -> list[Extents]:
        """Each dimension of an activation at every length; none where its shape is not known."""
        shapes = self._ragged.shapes.get(name) or (self._stated.get(name, ()),) * self._ragged.count
        return list(zip(*shapes, strict=True))

    def _shape(self, node: NodeProto) -> str:
        """What a Reshape or an Expand is to have for its shape, whose values depend on the length."""
        name = f"{node.input[1]}/lengths/{node.output[0]}"
        wanted = list(zip(*(value.tolist() for value in self._ragged.tables[node.input[1]]), strict=True))
        has = self._dims(node.input[0])
        if node.op_type == "Expand":
            parts = [self._widened(extents, has, place - len(wanted)) for place, extents in enumerate(wanted)]
        else:
            parts = [self._reshaped(extents, has, place, wanted) for place, extents in enumerate(wanted)]
        if not any(isinstance(part, str) for part in parts):
            return self._constant(np.array(parts, np.int64), name)
        pieces = [
            part if isinstance(part, str) else self._constant(np.array([part], np.int64), f"{name}/{place}")
            for place, part in enumerate(parts)
        ]
        return self._node("Concat", pieces, name, axis=0)

    def _reshaped(self, extents: Extents, has: Sequence[Extents], place: int, wanted: Sequence[Extents]) -> int | str:
        """0 copies the input's own extent, -1 is what is left over: rows, where they are free, among it."""
        spare = all(each != (-1,) * len(each) for each in wanted)
        if len(set(extents)) > 1:
            if place < len(has) and has[place] == extents:
                return 0
            return -1 if place == 0 and spare else self._extent(extents)
        if place == 0 and extents[0] == self._rows:
            return -1 if spare and has[:1] != [extents] else 0
        return extents[0]

    def _widened(self, extents: Extents, has: Sequence[Extents], from_last: int) -> int | str:
        """1 keeps the input's own extent."""
        if len(has) >= -from_last and has[from_last] == extents:
            return 1
        return extents[0] if len(set(extents)) == 1 else self._extent(extents)

    def _extent(self, extents: Extents) -> str:
        """An int64 [1] that is so much at each length."""
        if extents not in self._extents:
            name = f"lengths/{'_'.join(map(str, extents))}"
            source = next(((each, axis) for each, axis, found in self._given() if found == extents), None)
            if source is None:
                self._picked(np.array(extents, np.int64)[:, None], name)
            else:
                self._read(*source, name)
            self._extents[extents] = name
        return self._extents[extents]

    def _given(self) -> list[tuple[str, int, Extents]]:
        """The inputs' dimensions that depend on the length."""
        return [
            (entry.name, axis, extents)
            for entry in self._graph.input
            for axis, extents in enumerate(self._dims(entry.name))
            if len(set(extents)) > 1
        ]

    def _read(self, given: str, axis: int, name: str) -> None:
        shape = self._node("Shape", [given], f"{name}/shape")
        self._node("Gather", [shape, self._constant(np.array([axis], np.int64), f"{name}/axis")], name, axis=0)

    def _which(self) -> str:
        """The place of the length among all, an int64 scalar."""
        if not self._place:
            distinct = ((n, a, each) for n, a, each in self._given() if len(set(each)) == len(each))
            given = next(distinct, None)
            if given is None:
                raise InvalidModel("nothing that it is given tells the length")
            known = self._constant(np.array(given[2], np.int64), "lengths/all")
            same = self._node("Equal", [known, self._extent(given[2])], "lengths/same")
            ones = self._node("Cast", [same], "lengths/ones", to=onnx.TensorProto.INT32)
            self._place = self._node("ArgMax", [ones], "lengths/place", axis=0, keepdims=0)
        return self._place

    def _picked(self, values: Array, name: str) -> None:
        """A node that makes `name`: of the values, the length's."""
        place = self._which()
        self._node("Gather", [self._constant(values, f"{name}/table"), place], name, axis=0)

    def _cut(self, tensor: onnx.TensorProto) -> None:
        """A node that makes what the weight is at the length, of what it is at the largest."""
        if next(one.version for one in self._proto.opset_import if not one.domain) < SLICES:
            raise InvalidModel(f"weight {tensor.name} depends on the length, and its opset is below {SLICES}")
        name, dims = tensor.name, list(zip(*self._ragged.cuts[tensor.name], strict=True))
        axes = [axis for axis, extents in enumerate(dims) if len(set(extents)) > 1]
        ends = self._node("Concat", [self._extent(dims[axis]) for axis in axes], f"{name}/ends", axis=0)
        starts = self._constant(np.zeros(len(axes), np.int64), f"{name}/starts")
        whole = onnx.TensorProto()
        whole.CopyFrom(tensor)
        whole.name = f"{name}/whole"
        self._made.append(whole)
        self._node("Slice", [whole.name, starts, ends, self._constant(np.array(axes), f"{name}/axes")], name)

    def _constant(self, values: Array, name: str) -> str:
        self._made.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: int) -> str:
        self._first.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name


def _check(model: Path, ragged: Ragged, path: Path, times: int) -> None:
    """InvalidModel unless the new model says at each length what that length's own says, row by row."""
    proto = onnx.load(model, load_external_data=False)
    engine, beside = load_backend("onnxruntime"), path.with_name("at-length.onnx")
    new = engine.compile(path)
    try:
        for place in range(ragged.count):  # one by one: each is a whole copy
            onnx.save(at_length(proto, ragged, place), beside)
            old = engine.compile(beside)
            try:
                _check_one(old, new, times)
            finally:
                old.close()
    finally:
        new.close()
        beside.unlink(missing_ok=True)


def _check_one(old: Session, new: Session, times: int) -> None:
    feeds = [sample_feeds(old.inputs, seed) for seed in range(times)]
    answers = [old.run(feed) for feed in feeds]
    made = new.run(
        {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]} if times > 1 else feeds[0]
    )
    for name, have in made.items():
        want = answers[0][name] if times == 1 else np.concatenate([each[name] for each in answers])
        if have.shape != want.shape or not near(have, want):
            shapes = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in old.inputs)
            raise InvalidModel(f"of {shapes} its output {name!r} is another")
