"""The TVM backend: compiles for this machine or, with `target`, for another that is reached over TVM's RPC.

Without tuning a kernel gets the best schedule on record, else one written by hand: `trials` and `budget_s` are for the
last part. Shapes must be fixed. float32 only.
"""

from collections.abc import Mapping
from pathlib import Path

from nodes.backend import NO_OPTIONS, Capabilities, Option, Session
from nodes.backends.tvm.build import build
from nodes.backends.tvm.lower import operators
from nodes.backends.tvm.session import open_session
from nodes.backends.tvm.targets import target
from nodes.backends.tvm.vendor import NAME, check_installed, version
from nodes.errors import CompileError
from nodes.options import Options

_OPTIONS = {
    "target": 'what to compile for: "host", an ARM core such as "cortex-a72", or "riscv64"',
    "trials": "how many schedules to measure per kernel before compiling (0: none)",
    "budget_s": "how many seconds of tuning at most (0: as long as the trials take)",
    "rpc": '"host:port" of a TVM RPC server that runs what is compiled',
}


class Tvm:
    """The backend."""

    def __init__(self) -> None:
        check_installed()

    def capabilities(self) -> Capabilities:
        """float32 on the CPU, fixed shapes, and the operators that TVM's importer knows."""
        return Capabilities(
            backend=NAME,
            version=version(),
            devices=("cpu",),
            precisions=("float32",),
            free_shapes=False,
            operators=operators(),
            options=_OPTIONS,
        )

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> Session:
        """A session for an ONNX model; a path is needed where weights lie in files beside it.

        `profile` changes nothing: this engine doesn't tell which operators a kernel fuses.
        """
        if precision != "float32":
            raise CompileError(f"{NAME} here computes in float32, not {precision}")
        with Options(NAME, options) as read:
            spec = target(read.text("target", "host"))
            trials = read.count("trials", 0, least=0)
            budget_s = read.number("budget_s", 0.0)
            address = read.text("rpc", "")
        if spec.compiler is not None and not address:
            raise CompileError(f"{NAME}: what is compiled for {spec.name} doesn't run here; name a device with rpc")
        if (trials or budget_s) and address:
            raise CompileError(f"{NAME} tunes on this machine only; leave out trials and budget_s with rpc")
        with build(model, spec, threads=threads, trials=trials, budget_s=budget_s) as folder:
            if address:
                from nodes.backends.tvm.rpc import remote_session

                return remote_session(folder, address, threads=threads)
            return open_session(folder, threads=threads)
