"""Instructions for int8 sums of products, as tensor intrinsics: what each computes, and the call that does it.

c[lanes] += a[4] · b[lanes, 4], four bytes against each row. TVM ships the like in `tvm.s_tir.tensor_intrin`, whose
import parses those of every processor and takes 17 seconds; these are the few that are needed here.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import tvm

FOUR = 4  # bytes that one lane of an instruction multiplies and sums up

_HEAD = """
@T.prim_func(s_tir=True)
def main(a: T.handle, b: T.handle, c: T.handle) -> None:
    A = T.match_buffer(a, (4,), "{dtype}", offset_factor=1)
    B = T.match_buffer(b, ({lanes}, 4), "{weights}", offset_factor=1)
    C = T.match_buffer(c, ({lanes},), "int32", offset_factor=1)
    with T.sblock("root"):
        T.reads(C[0:{lanes}], A[0:4], B[0:{lanes}, 0:4])
        T.writes(C[0:{lanes}])
"""
_MEANING = (
    _HEAD
    + """\
        for i in T.serial(0, {lanes}):
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
# The same of x86, unsigned by signed, up to sixteen sums at once.
_VNNI = """C[T.ramp(0, 1, {lanes})] = T.call_llvm_pure_intrin(
            T.llvm_lookup_intrinsic_id("llvm.x86.avx512.vpdpbusd.{bits}"),
            C.vload([0], "int32x{lanes}"),
            T.reinterpret(T.broadcast(four, {lanes}), dtype="uint8x{bytes}"),
            B.vload([0, 0], "int8x{bytes}"),
            dtype="int32x{lanes}")"""
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


@dataclass(frozen=True, slots=True)
class DotProduct:
    """An intrinsic, registered as `name`: it makes `lanes` sums, of activations of a type by int8 weights."""

    name: str
    lanes: int
    activations: str


def dot_products(target: Any) -> tuple[DotProduct, ...]:
    """What a TVM target sums products of int8 weights with in one instruction, the widest first; () where nothing."""
    tvm()
    from tvm.target.codegen import llvm_get_cpu_features

    if "+dotprod" in (target.attrs.get("mattr") or ()):
        return (DotProduct(_registered("dot", "int8", 4), 4, "int8"),)
    if {"avx512vnni", "avx512vl"} <= set(map(str, llvm_get_cpu_features(target))):
        return tuple(DotProduct(_registered("vnni", "uint8", lanes), lanes, "uint8") for lanes in (16, 8, 4))
    return ()


def intrinsic(spec: TargetSpec, dtype: str) -> str | None:
    """The name, registered, of what sums products of `dtype` (int8 or uint8) on a core; None where it has nothing.

    A wrong one would end this process: LLVM has no other answer to an instruction that a core lacks.
    """
    if spec.has_dot_product:
        return _registered("dot", dtype, FOUR)
    if dtype == "int8" and (spec.triple or "").startswith("aarch64"):
        return _registered("widen", dtype, FOUR)
    return None


@cache
def _registered(kind: str, dtype: str, lanes: int) -> str:
    tvm()
    from tvm.s_tir import TensorIntrin
    from tvm.script import from_source

    name = f"isthmus.{kind}.{dtype}x{lanes}"
    types = {"dtype": dtype, "weights": "int8" if kind == "vnni" else dtype, "lanes": lanes}
    body = {
        "dot": _DOT.format(letter="u" if dtype == "uint8" else "s", dtype=dtype),
        "widen": _WIDEN,
        "vnni": _VNNI.format(lanes=lanes, bytes=FOUR * lanes, bits=8 * FOUR * lanes),
    }[kind]
    meaning = from_source(_MEANING.format(**types))
    TensorIntrin.register(name, meaning, from_source(_CALL.format(**types, body=body)))
    return name
