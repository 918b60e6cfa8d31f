"""Two rewritings of a relax module that let a change of layout pass through, and cost it nothing.

TVM stops a channels-last layout at what it has no rule for (a clip, a constant of shape [1]), and folds constants by
compiling a kernel for each shape: 12 s of EfficientNet's 12.5 s of lowering. Both are put right here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_PAIRWISE = frozenset(
    f"relax.{name}" for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
)
_TURNS = frozenset({"relax.permute_dims", "relax.reshape", "relax.expand_dims"})


def plain_scalars(module: Any) -> Any:
    """Constants of one element as scalars, a clip as a maximum and a minimum; indices clipped to their table.

    The last because TVM would read whatever memory a wrong index points to.
    """
    from tvm import relax
    from tvm.ir.expr import GenericConst

    def scalar(value: Any, other: Any) -> Any:
        small = isinstance(value, GenericConst) and value.value.numpy().size == 1 and 0 < value.ty.ndim <= other.ty.ndim
        return relax.const(value.value.numpy().reshape(()), value.ty.dtype) if small else value

    def rewrite(call: Any, name: str, look: Callable[[Any], Any], builder: Any) -> Any:
        if name == "relax.take" and call.attrs.mode == "fast":
            return relax.op.take(*call.args, axis=call.attrs.axis, mode="clip")
        if name == "relax.clip":
            dtype = call.args[0].ty.dtype
            low, high = (relax.const(float(bound.value), dtype) for bound in call.args[1:])
            return relax.op.minimum(builder.emit(relax.op.maximum(call.args[0], low)), high)
        if name in _PAIRWISE:
            left, right = call.args
            left, right = scalar(left, right), scalar(right, left)
            if left is not call.args[0] or right is not call.args[1]:
                return getattr(relax.op, name.removeprefix("relax."))(left, right)
        return call

    return rewritten(module, rewrite)


def fold_and_approximate(module: Any) -> Any:
    """Weights turned to their new layout, by numpy; exponentials as polynomials that run in vectors, right to 1e-6."""
    from tvm import relax, topi
    from tvm.ir.expr import GenericConst

    polynomials = {"relax.exp": topi.fast_exp, "relax.erf": topi.fast_erf, "relax.tanh": topi.fast_tanh}

    def rewrite(call: Any, name: str, look: Callable[[Any], Any], builder: Any) -> Any:
        single = bool(call.args) and str(getattr(call.args[0].ty, "dtype", "")) == "float32"
        if single and name in polynomials:
            return builder.call_te(polynomials[name], call.args[0])
        if single and name == "relax.nn.softmax":
            return builder.call_te(topi.nn.fast_softmax, call.args[0], int(call.attrs.axis))
        source = look(call.args[0]) if name in _TURNS else None
        if not isinstance(source, GenericConst):
            return call
        array = source.value.numpy()
        if name == "relax.permute_dims":
            turned = np.transpose(array, None if call.attrs.axes is None else [int(a) for a in call.attrs.axes])
        else:
            turned = array.reshape([int(dim) for dim in call.ty.shape])
        return relax.const(np.ascontiguousarray(turned), source.ty.dtype)

    return rewritten(module, rewrite)


def rewritten(module: Any, rewrite: Callable[[Any, str, Callable[[Any], Any], Any], Any]) -> Any:
    """The module with every call as `rewrite(call, operator's name, look up a variable, block builder)` gives it."""
    from tvm import relax

    @relax.expr_functor.mutator
    class Rewriting(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            call = self.visit_expr_post_order(call)
            return rewrite(call, getattr(call.op, "name", ""), self._look, self.builder_)

        def _look(self, value: Any) -> Any:
            return self.lookup_binding(value) if isinstance(value, relax.Var) else value

    rewriting = Rewriting(module)
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            rewriting.builder_.update_func(name, rewriting.visit_expr(function))
    return rewriting.builder_.get()
