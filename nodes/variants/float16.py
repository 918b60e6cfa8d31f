"""Narrower floats: half precision throughout, and weights alone in bfloat16. Inputs and outputs stay as they were.

bfloat16 is storage: each weight is cast to float32 where it is read, since few engines have kernels of that type on a
CPU. Those that compute in it do so by an option of their own, and lose no more by it than this form does.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from nodes.backend import Array
from nodes.options import Options
from nodes.variants.errors import NotPossible
from nodes.variants.pieces import array_of, copied, kept_float, weights_of
from nodes.variants.quiet import quiet
from nodes.variants.ranges import FLOAT16_LARGEST, ranges_of


def float16(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """ONNX Runtime's converter. NotPossible names the first weight, or activation over `feeds`, beyond 65504.

    Options: `keep_float`, operators that stay float32, commas between; `clamp`, to cut weights off at ±65504.
    """
    kept, clamp = kept_float(core, read.text("keep_float", "")), read.switch("clamp", False)
    if not any(tensor.data_type == TensorProto.FLOAT for tensor in core.graph.initializer):
        raise NotPossible("the model has no float32 weights to narrow")
    if not clamp and (found := next(_overflowing_weights(core, set(kept)), None)):
        raise NotPossible(f"{found}; give clamp=true to cut it off there, or name its readers in keep_float")
    if feeds and (found := next(_overflowing_activations(core, feeds, set(kept)), None)):
        raise NotPossible(f"{found}; name its operators in keep_float")
    with quiet("float16"):
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        made: ModelProto = convert_float_to_float16(
            copied(core), keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=kept
        )
    _name_casts(made)
    _skip_casts(made, set(kept))
    return made


def bfloat16(core: ModelProto, feeds: Sequence[Mapping[str, Array]], read: Options) -> ModelProto:
    """Each float32 weight of more than one value as bfloat16 and a Cast; NotPossible if there is none."""
    del feeds, read
    import ml_dtypes

    made = copied(core)
    heavy = [
        tensor for tensor in made.graph.initializer if tensor.data_type == TensorProto.FLOAT and _count(tensor) > 1
    ]
    if not heavy:
        raise NotPossible("the model has no float32 weights to narrow")
    casts = []
    for tensor in heavy:
        name, stored = tensor.name, f"{tensor.name}.bfloat16"
        values = array_of(tensor).astype(ml_dtypes.bfloat16)
        tensor.CopyFrom(helper.make_tensor(stored, TensorProto.BFLOAT16, values.shape, values.tobytes(), raw=True))
        casts.append(helper.make_node("Cast", [stored], [name], f"{name}.widen", to=TensorProto.FLOAT))
    nodes = [*casts, *core.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _name_casts(model: ModelProto) -> None:
    """Call the tensors behind the casts at the ends after the ends: OpenVINO joins them, and the first name counts."""
    names = {
        f"graph_{kind}_cast_{index}": f"{entry.name}.half"
        for kind, entries in (("input", model.graph.input), ("output", model.graph.output))
        for index, entry in enumerate(entries)
    }
    for node in model.graph.node:
        for held in (node.input, node.output):
            for place, name in enumerate(held):
                held[place] = names.get(name, name)
    for entry in model.graph.value_info:
        entry.name = names.get(entry.name, entry.name)


def _skip_casts(model: ModelProto, kept: set[str]) -> None:
    """Lead a tensor straight from one operator kept float32 to the next: the converter narrows it in between."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        for place, name in enumerate(node.input):
            wide = maker.get(name) if node.name in kept else None
            narrow = maker.get(wide.input[0]) if wide is not None and wide.op_type == "Cast" else None
            source = maker.get(narrow.input[0]) if narrow is not None and narrow.op_type == "Cast" else None
            if narrow is not None and source is not None and source.name in kept:
                node.input[place] = narrow.input[0]
    given = {entry.name for entry in graph.output}
    while idle := _unread_casts(graph, given):
        for node in idle:
            graph.node.remove(node)


def _unread_casts(graph: GraphProto, given: set[str]) -> list[NodeProto]:
    read = {name for node in graph.node for name in node.input} | given
    return [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in read]


def _overflowing_weights(core: ModelProto, kept: set[str]) -> Iterator[str]:
    readers: dict[str, set[str]] = {}
    for node in core.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.name)
    for name, tensor in weights_of(core).items():
        if tensor.data_type == TensorProto.FLOAT and readers.get(name, set()) - kept:
            largest = float(np.abs(array_of(tensor)).max(initial=0.0))
            if largest > FLOAT16_LARGEST:
                yield f"weight {name!r} reaches {largest:.4g}, beyond half precision's {FLOAT16_LARGEST:g}"


def _overflowing_activations(core: ModelProto, feeds: Sequence[Mapping[str, Array]], kept: set[str]) -> Iterator[str]:
    """A tensor is safe if all that make and read it stay float32."""
    touched: dict[str, set[str]] = {}
    for node in core.graph.node:
        for name in (*node.input, *node.output):
            touched.setdefault(name, set()).add(node.name)
    for name, found in ranges_of(core, feeds).items():
        if not found.fits_float16 and touched.get(name, set()) - kept:
            yield f"activation {name!r} reaches {found.largest:.4g}, beyond half precision's {FLOAT16_LARGEST:g}"


def _count(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims)) if tensor.dims else 1
