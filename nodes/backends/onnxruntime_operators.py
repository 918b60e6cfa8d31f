"""Which operators ONNX Runtime compiles, asked of the engine before a model is there."""

from functools import cache

# ONNX itself says what these are made of, so the engine needs no kernel of its own for them. Constant becomes a weight.
EXPANDED = frozenset(
    (
        "Bernoulli", "CastLike", "CenterCropPad", "Constant", "GroupNormalization", "HardSwish", "Mish",
        "NegativeLogLikelihoodLoss", "SequenceMap", "SoftmaxCrossEntropyLoss", "Swish",
    )
)  # fmt: skip


@cache
def operators() -> frozenset[str] | None:
    """Types of ONNX's own domain for which this build has a kernel or a definition, None if it doesn't tell.

    A kernel may still lack an opset or a type; compiling then refuses the operator by name.
    """
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as engine

        kernels = {kernel.op_name for kernel in engine.get_all_opkernel_def() if not kernel.domain}
        known = {schema.name for schema in engine.get_all_operator_schema() if not schema.domain}
    except (ImportError, AttributeError):  # a build may leave these out
        return None
    return frozenset(kernels | (EXPANDED & known))
