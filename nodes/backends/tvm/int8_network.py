"""Convolutions and matrix products between quantised tensors as sums of int8 products: quantised models, computed so.

A model says int8 by pairs of QuantizeLinear and DequantizeLinear. Where a target has an instruction for it, an operator
between such pairs multiplies the integers themselves, in the order that the instruction reads (int8_schedule.py makes
the loops), and only its sums become floats. Depthwise and grouped convolutions, transposed ones, products of two
activations, weights with zero points, and filters that are no multiple of the instruction's lanes stay float.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodes.backends.tvm.int8_intrinsics import FOUR, DotProduct
from nodes.backends.tvm.int8_patterns import Given, Look, Weights, dequantised, quantised_weights
from nodes.backends.tvm.rewrites import rewritten

_LOWEST = 128  # what divides a signed byte from an unsigned one


def same_signs(proto: Any, activations: str) -> None:
    """Change quantised activations of an ONNX model, in place, to the type that the instruction takes.

    Zero points move by 128, so what is computed stays. Tensors that anything but a DequantizeLinear reads are left.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    outputs = {entry.name for entry in proto.graph.output}
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]:
        pair = [node, *readers.get(node.output[0], [])]
        zeros = [weights.get(one.input[2]) if len(one.input) > 2 else None for one in pair]
        plain = all(one.op_type == "DequantizeLinear" and not one.attribute for one in pair[1:])
        if node.output[0] in outputs or not plain or not all(zeros):
            continue
        for one, zero in zip(pair, zeros, strict=True):
            have = numpy_helper.to_array(zero)
            if have.dtype.name == activations or have.dtype.name not in {"int8", "uint8"}:
                continue
            moved = have.astype(np.int16) + (_LOWEST if activations == "uint8" else -_LOWEST)
            name = f"{one.input[2]}.{activations}"
            if name not in weights:
                weights[name] = numpy_helper.from_array(moved.astype(activations), name)
                proto.graph.initializer.append(weights[name])
            one.input[2] = name


def int8_products(module: Any, dots: Sequence[DotProduct]) -> Any:
    """Operators between quantised tensors as sums of products of integers, then scaled, where one of `dots` fits."""

    def rewrite(call: Any, name: str, look: Look, builder: Any) -> Any:
        if name == "relax.nn.conv2d":
            product = _convolution(call)
        elif name == "relax.matmul":
            product = _Product.of(call, call.args[1].ty)
        else:
            product = None
        given = dequantised(call.args[0], look) if product is not None else None
        weights = quantised_weights(call.args[1], look) if given is not None else None
        if product is None or given is None or weights is None:
            return call
        dot = next((dot for dot in dots if weights.values.shape[-1] % dot.lanes == 0), None)
        if dot is None:
            return call
        return _emitted(product, given, weights, dot, builder)

    return rewritten(module, rewrite)


@dataclass(frozen=True, slots=True)
class _Product:
    """A convolution of [.., height, width, channels] or, without `window`, a matrix product of [.., rows, depth]."""

    window: tuple[int, int] | None
    strides: Sequence[int] = (1, 1)
    padding: Sequence[int] = (0, 0, 0, 0)  # above, left, below, right
    dilation: Sequence[int] = (1, 1)

    @classmethod
    def of(cls, call: Any, weights: Any) -> "_Product | None":
        return cls(None) if call.args[0].ty.ndim > 1 and weights.ndim == 2 else None

    def te(self, given: Any, packed: Any, zero: int) -> Any:
        """The sums, as TVM's tensor expression. `packed` is [filters / lanes, (rows, columns,) depth / 4, lanes, 4]."""
        from tvm import te

        lanes, deep = int(packed.shape[-2]), int(packed.shape[-3]) * FOUR
        filters = int(packed.shape[0]) * lanes
        given = _padded(given, self.padding, deep, zero)
        depth = te.reduce_axis((0, deep), name="depth")
        if self.window is None:
            shape = (*given.shape[:-1], filters)

            def entry(*at: Any) -> Any:
                *rows, k = at
                weight = packed[k // lanes, depth // FOUR, k % lanes, depth % FOUR]
                return te.sum(given[(*rows, depth)].astype("int32") * weight.astype("int32"), axis=[depth])

            return te.compute(shape, entry, name="sums")
        row, column = (te.reduce_axis((0, size)) for size in self.window)
        batch, *sides, _ = (int(dim) for dim in given.shape)
        high, wide = (
            (side - (size - 1) * apart - 1) // stride + 1
            for side, size, apart, stride in zip(sides, self.window, self.dilation, self.strides, strict=True)
        )

        def pixel(n: Any, i: Any, j: Any, k: Any) -> Any:
            at = (i * self.strides[0] + row * self.dilation[0], j * self.strides[1] + column * self.dilation[1])
            weight = packed[k // lanes, row, column, depth // FOUR, k % lanes, depth % FOUR]
            return te.sum(given[(n, *at, depth)].astype("int32") * weight.astype("int32"), axis=[row, column, depth])

        return te.compute((batch, high, wide, filters), pixel, name="sums")


def _padded(given: Any, padding: Sequence[int], deep: int, zero: int) -> Any:
    """The tensor with a border, and more channels, of what stands for 0; the weights of those channels are 0."""
    from tvm import te, tirx

    shape = [int(dim) for dim in given.shape]
    if not any(padding) and shape[-1] == deep:
        return given
    before = [0] * len(shape)
    after = [0] * (len(shape) - 1) + [deep - shape[-1]]
    if any(padding):
        before[-3:-1], after[-3:-1] = padding[:2], padding[2:]
    wide = [low + size + high for low, size, high in zip(before, shape, after, strict=True)]

    def entry(*at: Any) -> Any:
        inside = [
            bound
            for place, (low, high) in enumerate(zip(before, after, strict=True))
            for bound in (
                *([at[place] >= low] if low else []),
                *([at[place] < low + shape[place]] if high else []),
            )
        ]
        value = given[tuple(index - low for index, low in zip(at, before, strict=True))]
        return tirx.if_then_else(tirx.all(*inside), value, tirx.const(zero, given.dtype))

    return te.compute(wide, entry, name="padded")


def _convolution(call: Any) -> _Product | None:
    attributes = call.attrs
    known = attributes.data_layout == "NHWC" and attributes.kernel_layout == "HWIO" and attributes.groups == 1
    if not known:
        return None
    size = [int(dim) for dim in call.args[1].ty.shape]
    strides, padding, dilation = (
        tuple(int(value) for value in values)
        for values in (attributes.strides, attributes.padding, attributes.dilation)
    )
    return _Product((size[0], size[1]), strides, padding, dilation)


def _emitted(product: _Product, given: Given, weights: Weights, dot: DotProduct, builder: Any) -> Any:
    """sum(x w) - zero sum(w), scaled: integers up to there, the rest for the engine to fuse."""
    from tvm import relax

    integers, zero = given.integers, given.zero
    for axes in given.turns:
        integers = builder.emit(relax.op.permute_dims(integers, list(axes)))
    if str(integers.ty.dtype) != dot.activations:  # what comes into the model so; inside, same_signs has seen to it
        by = _LOWEST if dot.activations == "uint8" else -_LOWEST
        wide = builder.emit(relax.op.add(builder.emit(relax.op.astype(integers, "int16")), relax.const(by, "int16")))
        integers, zero = builder.emit(relax.op.astype(wide, dot.activations)), zero + by
    packed = relax.const(pack(weights.values, dot.lanes), "int8")
    hint = "matmul_int8" if product.window is None else "conv2d_int8"
    sums = builder.emit(builder.call_te(product.te, integers, packed, zero, primfunc_name_hint=hint))
    shift = zero * weights.values.astype(np.int64).sum(axis=tuple(range(weights.values.ndim - 1)))
    centred = builder.emit(relax.op.subtract(sums, relax.const(shift.astype(np.int32), "int32")))
    scales = (given.scale * weights.scales.astype(np.float64)).astype(np.float32)
    return relax.op.multiply(builder.emit(relax.op.astype(centred, "float32")), relax.const(scales, "float32"))


def pack(weights: NDArray[Any], lanes: int) -> NDArray[Any]:
    """Weights [.., depth, filters] as the instruction reads them: [filters / lanes, .., depth / 4, lanes, 4]."""
    *window, depth, filters = weights.shape
    more = [(0, 0)] * len(window) + [(0, -depth % FOUR), (0, 0)]
    split = np.pad(weights, more).reshape(*window, -(-depth // FOUR), FOUR, filters // lanes, lanes)
    axes = (split.ndim - 2, *range(len(window) + 1), split.ndim - 1, split.ndim - 3)
    return np.ascontiguousarray(split.transpose(axes))
