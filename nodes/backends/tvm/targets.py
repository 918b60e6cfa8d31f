"""Targets by name: this machine, named ARM cores and riscv64, as TVM's target and the compiler that links for it.

It knows names only: whether a compiler is installed is for `cross` to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nodes.backends.tvm.vendor import tvm
from nodes.errors import CompileError

NEON = ("+neon",)
DOT_PRODUCT = ("+neon", "+dotprod")
_ARM_CORES = {
    "cortex-a53": NEON,  # Raspberry Pi 3, Zero 2
    "cortex-a55": DOT_PRODUCT,  # RK3568, RK3588's small cores
    "cortex-a57": NEON,  # Jetson Nano, TX2
    "cortex-a72": NEON,  # Raspberry Pi 4
    "cortex-a76": DOT_PRODUCT,  # Raspberry Pi 5, RK3588's large cores
    "cortex-a78": DOT_PRODUCT,  # Jetson Orin
    "neoverse-n1": DOT_PRODUCT,  # Graviton 2, Ampere Altra
    "neoverse-v1": DOT_PRODUCT,  # Graviton 3
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What a model is compiled for. `kind` is TVM's target, `compiler` the cross g++, None for this machine."""

    name: str
    kind: Mapping[str, object]
    compiler: str | None

    @property
    def triple(self) -> str | None:
        """The GNU triple, None for this machine."""
        return None if self.compiler is None else str(self.kind["mtriple"])

    @property
    def has_dot_product(self) -> bool:
        """Whether the core multiplies int8 by fours (ARM's sdot and udot)."""
        features = self.kind.get("mattr", ())
        return isinstance(features, list | tuple) and "+dotprod" in features


def target(name: str) -> TargetSpec:
    """The target of that name: "host", an ARM core or "riscv64". CompileError, naming them all, for another."""
    if name == "host":
        return TargetSpec(name=name, kind={"kind": "llvm", "mcpu": _host_cpu()}, compiler=None)
    if name == "riscv64":
        # What every riscv64 Linux runs: LLVM's default has neither multiplication nor floats.
        triple, kind = "riscv64-linux-gnu", {"mcpu": "generic-rv64", "mattr": ["+m", "+a", "+f", "+d", "+c"]}
        return _cross(name, triple, {**kind, "mabi": "lp64d"})
    if name in _ARM_CORES:
        return _cross(name, "aarch64-linux-gnu", {"mattr": list(_ARM_CORES[name]), "mcpu": name})
    raise CompileError(f"tvm has no target {name!r}; it has {', '.join(known_targets())}")


def known_targets() -> tuple[str, ...]:
    """Every name that `target` takes."""
    return ("host", *_ARM_CORES, "riscv64")


def _cross(name: str, triple: str, kind: Mapping[str, object]) -> TargetSpec:
    return TargetSpec(name=name, kind={"kind": "llvm", "mtriple": triple, **kind}, compiler=f"{triple}-g++")


@cache
def _host_cpu() -> str:
    """What LLVM calls this machine's processor: it knows no "native"."""
    tvm()
    from tvm.target.codegen import llvm_get_system_cpu

    return str(llvm_get_system_cpu())
