"""A normalised model with another number of rows in its batch, for what grows with the batch.

Normalising fixes shapes, so the batch stands in the inputs and in what reshapes them. Both are changed, the rest is
inferred anew, and the result is held against the model itself, row by row: a model that mixes its rows, or whose
outputs do not grow, is refused. Controller only: imports onnx and ONNX Runtime.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from nodes.backend import Array, load_backend
from nodes.errors import NodesError
from nodes.normalise import DYNAMIC_KEY, NORMALISED_KEY, normalise
from nodes.normalising.shapes import forget_shapes
from nodes.ragged import RAGGED_KEY
from nodes.timing import sample_feeds
from partitioner.errors import InvalidModel

TOLERANCE = 1e-3  # of an output's largest magnitude: sums in another order
USUAL = 1e3  # magnitudes beyond are a mask's, if few are
SAMPLED = 3  # requests that a model with free rows is tried with
SHAPED = ("Reshape", "Expand")  # operators whose second input is a shape


def rebatched(model: Path, rows: int, path: Path) -> Path:
    """Write the normalised `model` with `rows` rows to `path`; InvalidModel for one that has no batch, or mixes rows.

    The batch is the first dimension, equal in all inputs; `rows` is a multiple of it.
    """
    proto = onnx.load(model, load_external_data=False)
    now = row_count(proto, model)
    if rows < 1 or rows % now:
        raise InvalidModel(f"{model.name} takes {now} rows at once; {rows} is no multiple of that")
    for entry in proto.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_value = rows
    free_shapes(proto, now)
    kept = [entry for entry in proto.metadata_props if entry.key not in (NORMALISED_KEY, DYNAMIC_KEY, RAGGED_KEY)]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    try:
        normalise(proto, directory=model.parent).save(path)
        _check_rows(model, path, rows // now)
    except (InvalidModel, NodesError) as refused:
        path.unlink(missing_ok=True)
        raise InvalidModel(f"{model.name} does not take {rows} rows at once: {refused}") from None
    return path


def with_free_rows(model: Path) -> Path:
    """Have the model in the file take any number of rows; InvalidModel, and the file as it was, if it can't."""
    proto = onnx.load(model, load_external_data=False)
    free_shapes(proto, row_count(proto, model))
    forget_shapes(proto.graph)
    for entry in proto.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_param = "rows"
    freed = model.with_name(f"{model.stem}.rows.onnx")
    try:
        onnx.save(proto, freed)
        _check_rows(model, freed, SAMPLED)
    except (InvalidModel, NodesError) as refused:
        freed.unlink(missing_ok=True)
        raise InvalidModel(f"{model.name} does not take any number of rows: {refused}") from None
    return freed.replace(model)


def row_count(proto: ModelProto, model: Path) -> int:
    """The first dimension of all inputs; InvalidModel where there is no such."""
    first = {
        entry.name: entry.type.tensor_type.shape.dim[0].dim_value if entry.type.tensor_type.shape.dim else 0
        for entry in proto.graph.input
    }
    (rows, *others) = sorted(set(first.values())) or [0]
    if others or not rows:
        told = ", ".join(f"{name} {dim or 'no dimension'}" for name, dim in first.items())
        raise InvalidModel(f"{model.name} has no batch: its inputs' first dimensions are {told}")
    return rows


def free_shapes(proto: ModelProto, rows: int) -> None:
    """Have every constant shape that begins with the batch take the batch from its tensor instead."""
    shapes = {tensor.name: tensor for tensor in proto.graph.initializer}
    first = {
        entry.name: entry.type.tensor_type.shape.dim[0].dim_value
        for entry in [*proto.graph.value_info, *proto.graph.input]
        if entry.type.tensor_type.shape.dim
    }
    for node in proto.graph.node:
        if node.op_type not in SHAPED or node.input[1] not in shapes:
            continue
        shape = numpy_helper.to_array(shapes[node.input[1]]).copy()
        if len(shape) and shape[0] == rows and not allows_zero(node):
            shape[:1] = _instead(node, shape, begins=first.get(node.input[0]) == rows)
            node.input[1] = f"{node.input[1]}/rows/{node.output[0]}"
            proto.graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))


def _instead(node: NodeProto, shape: Array, *, begins: bool) -> int:
    """What a shape begins with in place of the batch: 1 broadcasts, 0 copies, -1 is what is left over."""
    if node.op_type == "Expand":
        return 1
    return 0 if begins or -1 in shape[1:] else -1


def allows_zero(node: NodeProto) -> bool:
    """Whether a 0 in a Reshape's shape means none, not the input's own extent."""
    return any(entry.name == "allowzero" and entry.i for entry in node.attribute)


def _check_rows(model: Path, path: Path, times: int) -> None:
    """InvalidModel unless the new model says of each of its batches what the old one does."""
    engine = load_backend("onnxruntime")
    old, new = engine.compile(model), engine.compile(path)
    try:
        feeds = [sample_feeds(old.inputs, seed) for seed in range(times)]
        wanted = [old.run(feed) for feed in feeds]
        made = new.run({name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]})
    finally:
        old.close()
        new.close()
    for name, have in made.items():
        want = np.array([one[name] for one in wanted]).reshape(-1, *wanted[0][name].shape[1:])
        if have.shape != want.shape or not near(have, want):
            raise InvalidModel(f"of a batch, output {name!r} is not its rows' outputs")


def near(have: Array, want: Array) -> bool:
    """Whether these are the same, but for sums in another order; what is not finite is at the same places."""
    a, b = have.astype(np.float64), want.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    if not np.all(finite | (a == b) | (np.isnan(a) & np.isnan(b))):
        return False
    a, b = a[finite], b[finite]
    return bool(np.all(np.abs(a - b) <= TOLERANCE * np.maximum(_magnitude(b), np.abs(b))))


def _magnitude(values: Array) -> float:
    """The largest magnitude, but for a mask's (-1e4, -3.4e38): what is that large is many times the same value.

    Where more than three in four distinct magnitudes are beyond USUAL, the values themselves are that large.
    """
    distinct = np.unique(np.abs(values))
    usual = distinct[distinct <= USUAL]
    return float((usual if 4 * len(usual) >= len(distinct) else distinct).max(initial=0.0))
