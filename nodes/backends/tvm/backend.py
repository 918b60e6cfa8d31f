"""The TVM backend: compiles for this machine or, with `target`, for another that is reached over TVM's RPC.

Without tuning a kernel gets the best schedule on record, else one written by hand: `trials` and `budget_s` tune
before compiling, `tune_s` beside what serves. Shapes must be fixed. float32, and 8 bits where the model says so.
"""

from collections.abc import Mapping
from pathlib import Path

from nodes.backend import NO_OPTIONS, Capabilities, Option, Session
from nodes.backends.tvm.background import tune_beside
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
    "tune_s": "seconds of tuning beside what serves, by a process of lowest priority; counts from the next compile on",
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

        `profile` times kernels here, not on a device that is reached over RPC.
        """
        if precision != "float32":
            raise CompileError(f"{NAME} here computes in float32, not {precision}")
        with Options(NAME, options) as read:
            spec = target(read.text("target", "host"))
            trials = read.count("trials", 0, least=0)
            budget_s = read.number("budget_s", 0.0)
            tune_s = read.number("tune_s", 0.0)
            address = read.text("rpc", "")
        if spec.compiler is not None and not address:
            raise CompileError(f"{NAME}: what is compiled for {spec.name} doesn't run here; name a device with rpc")
        if (trials or budget_s or tune_s) and address:
            raise CompileError(f"{NAME} tunes on this machine only; leave out trials, budget_s and tune_s with rpc")
        with build(model, spec, threads=threads, trials=trials, budget_s=budget_s) as folder:
            if address:
                from nodes.backends.tvm.rpc import remote_session

                return remote_session(folder, address, threads=threads)
            session = open_session(folder, threads=threads, profile=profile)
        if tune_s:
            tune_beside(model, spec, budget_s=tune_s)
        return session
