"""ARM's instructions for int8 sums of products, as tensor intrinsics: what each computes, and the call that does it.

c[4] += a[4] · b[4, 4], a vector of four against each row. TVM ships the like in `tvm.s_tir.tensor_intrin`, whose import
parses those of every processor and takes 17 seconds; these are the two that are needed here.
"""

from functools import cache

from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import tvm

_HEAD = """
@T.prim_func(s_tir=True)
def main(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4,), "{dtype}", offset_factor=1)
    B = T.match_buffer(b, (4, 4), "{dtype}", offset_factor=1)
    C = T.match_buffer(c, (4,), "int32", offset_factor=1)
    with T.sblock("root"):
        T.reads(C[0:4], A[0:4], B[0:4, 0:4])
        T.writes(C[0:4])
"""
_MEANING = (
    _HEAD
    + """\
        for i in T.serial(0, 4):
            for k in T.serial(0, 4):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")
"""
)
_CALL = (
    _HEAD
    + """\
        four = T.reinterpret(A.vload([0], "{dtype}x4"), dtype="int32")
        {body}
"""
)
# One instruction: four products of bytes are added to each of four sums.
_DOT = """C[T.ramp(0, 1, 4)] = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.{letter}dot.v4i32.v16i8"),
            C.vload([0], "int32x4"),
            T.reinterpret(T.broadcast(four, 4), dtype="{dtype}x16"),
            B.vload([0, 0], "{dtype}x16"),
            dtype="int32x4")"""
# Products of 16 bits, exact, then sums of neighbours: twice for the halves of b, then once across both.
_WIDEN = """twice = T.reinterpret(T.broadcast(four, 2), dtype="int8x8")
        rows = B.vload([0, 0], "int8x16")
        low = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.smull.v8i16"),
            twice, T.vectorlow(rows, dtype="int8x8"), dtype="int16x8")
        high = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.smull.v8i16"),
            twice, T.vectorhigh(rows, dtype="int8x8"), dtype="int16x8")
        low_sums = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.saddlp.v4i32.v8i16"), low, dtype="int32x4")
        high_sums = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.saddlp.v4i32.v8i16"), high, dtype="int32x4")
        C[T.ramp(0, 1, 4)] += T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.addp.v4i32"), low_sums, high_sums, dtype="int32x4")"""


def intrinsic(spec: TargetSpec, dtype: str) -> str | None:
    """The name, registered, of what sums products of `dtype` (int8 or uint8) on a core; None where it has nothing.

    A wrong one would end this process: LLVM has no other answer to an instruction that a core lacks.
    """
    if spec.has_dot_product:
        return _registered("dot", dtype)
    if dtype == "int8" and (spec.triple or "").startswith("aarch64"):
        return _registered("widen", dtype)
    return None


@cache
def _registered(kind: str, dtype: str) -> str:
    tvm()
    from tvm.s_tir import TensorIntrin
    from tvm.script import from_source

    name = f"isthmus.{kind}.{dtype}"
    body = _DOT.format(letter="u" if dtype == "uint8" else "s", dtype=dtype) if kind == "dot" else _WIDEN
    meaning = from_source(_MEANING.format(dtype=dtype))
    TensorIntrin.register(name, meaning, from_source(_CALL.format(dtype=dtype, body=body)))
    return name
