"""ONNX Runtime. A provider that was asked for and isn't used is an error, never a silent CPU.

Worker threads sleep rather than spin when idle: other stages and the network share the machine's cores. Measured on
EfficientNet-Lite0, 2 threads on 2 cores: spinning is a third faster (8 against 12 ms) on an idle machine, and two times
slower (26 against 9 to 13 ms) beside one busy neighbour.
"""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from nodes.backend import NO_OPTIONS, Array, Capabilities, Option, TensorSpec
from nodes.errors import CompileError, EngineMissing, NodesError, RunError, UnsupportedOperator
from nodes.feeds import check_feeds, engine_ready
from nodes.options import Options

NAME = "onnxruntime"
CPU = ("CPUExecutionProvider",)

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64", "string": "str",
}  # fmt: skip

# How the engine says that it lacks an operator: when loading, when resolving a domain, when choosing a kernel.
_UNSUPPORTED = (
    re.compile(r'In Node, \("(?P<operator>[^"]*)", (?P<op_type>[^,]+), .*No Op registered for'),
    re.compile(r"Fatal error: (?P<op_type>\S+)\(-?\d+\) is not a registered"),
    re.compile(r"Could not find an implementation for (?P<op_type>\w+)\(\d+\) node with name '(?P<operator>[^']*)'"),
)


class OnnxRuntime:
    """The backend. `providers` are ONNX Runtime's names, best first; the first must really be used.

    Without `fuse` every operator of the model runs by itself, slowly: for the profiler, which asks for each.
    """

    def __init__(self, providers: Sequence[str] = CPU, *, fuse: bool = True) -> None:
        self.module = _import()
        self._providers = tuple(providers)
        self._fuse = fuse
        if missing := [name for name in providers if name not in self.module.get_available_providers()]:
            have = ", ".join(self.module.get_available_providers())
            raise EngineMissing(f'{NAME} here lacks {missing[0]} (it has {have}); pip install "isthmus[gpu]" for CUDA')

    def capabilities(self) -> Capabilities:
        """float32 only: on a CPU this engine gains nothing from narrower floats."""
        devices = tuple(name.removesuffix("ExecutionProvider").lower() for name in self._providers)
        return Capabilities(backend=NAME, version=self.module.__version__, devices=devices, precisions=("float32",))

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> "OnnxRuntimeSession":
        """A session for an ONNX model; a path is needed where weights lie in files beside it."""
        if precision != "float32":
            raise CompileError(f"{NAME} runs float32, not {precision}; choose another backend for it")
        with Options(NAME, options):
            pass
        engine = self.module.SessionOptions()
        engine.log_severity_level = 4  # what goes wrong is raised; the engine need not print it too
        engine.intra_op_num_threads = threads
        engine.inter_op_num_threads = 1
        engine.add_session_config_entry("session.intra_op.allow_spinning", "0")
        levels = self.module.GraphOptimizationLevel
        engine.graph_optimization_level = levels.ORT_ENABLE_ALL if self._fuse else levels.ORT_DISABLE_ALL
        folder = tempfile.TemporaryDirectory(prefix="isthmus-profile-") if profile else None
        if folder is not None:
            engine.enable_profiling = True
            engine.profile_file_prefix = str(Path(folder.name) / "run")
        source = str(model) if isinstance(model, Path) else model
        try:
            session = self.module.InferenceSession(source, engine, providers=list(self._providers))
        except Exception as error:
            raise compile_error(str(error)) from None
        if session.get_providers()[0] != self._providers[0]:
            raise CompileError(f"{NAME} fell back to {session.get_providers()[0]} from {self._providers[0]}")
        return OnnxRuntimeSession(session, folder)


class OnnxRuntimeSession:
    """A compiled model. Outputs are fresh arrays, inputs are read in place."""

    def __init__(self, session: Any, profile_folder: "tempfile.TemporaryDirectory[str] | None") -> None:
        self.inputs = tuple(_spec(entry) for entry in session.get_inputs())
        self.outputs = tuple(_spec(entry) for entry in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._session = session
        self._profile_folder = profile_folder
        self._operator_s: Mapping[str, float] | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; BadInput for tensors that don't fit, RunError for the engine's own failure."""
        check_feeds(self.inputs, feeds)
        try:
            values = self._session.run(self._names, {name: engine_ready(array) for name, array in feeds.items()})
        except Exception as error:
            raise RunError(f"{NAME}: {_one_line(str(error))}") from None
        return dict(zip(self._names, values, strict=True))

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel, if compiled with `profile=True`; profiling ends with the first call.

        A key is the name of one of the operators that the kernel fuses, perhaps with a suffix of the engine's.
        """
        if self._profile_folder is not None:
            self._operator_s = _operator_s(Path(self._session.end_profiling()))
            self._profile_folder.cleanup()
            self._profile_folder = None
        return self._operator_s

    def close(self) -> None:
        """Free the engine's memory."""
        self._session = _Closed()
        if self._profile_folder is not None:
            self._profile_folder.cleanup()
            self._profile_folder = None


class _Closed:
    def run(self, *_: object) -> list[Array]:
        raise RuntimeError("the session is closed")


def load(providers: Sequence[str] = CPU, *, fuse: bool = True) -> OnnxRuntime:
    """The backend; EngineMissing where its package is absent or installed twice over."""
    return OnnxRuntime(providers, fuse=fuse)


def check_distributions(installed: Sequence[str]) -> None:
    """EngineMissing if both distributions of ONNX Runtime are installed: they overwrite each other's files."""
    if {"onnxruntime", "onnxruntime-gpu"} <= set(installed):
        raise EngineMissing(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; keep one: "
            'pip uninstall onnxruntime onnxruntime-gpu, then pip install "isthmus[cpu]" or "isthmus[gpu]"'
        )


def _import() -> ModuleType:
    check_distributions([name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)])
    try:
        import onnxruntime

        _ = onnxruntime.InferenceSession  # a half-removed distribution leaves an importable, empty package
    except (ImportError, AttributeError):
        raise EngineMissing(
            'ONNX Runtime is not installed; pip install "isthmus[cpu]", or "isthmus[gpu]" for NVIDIA cards'
        ) from None
    module: ModuleType = onnxruntime
    return module


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _spec(entry: Any) -> TensorSpec:
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(dim if isinstance(dim, int) else None for dim in entry.shape)
    return TensorSpec(entry.name, _DTYPES.get(kind, kind), shape)


def compile_error(message: str) -> NodesError:
    """The engine's message as ours: UnsupportedOperator where it says so, else CompileError."""
    for pattern in _UNSUPPORTED:
        if found := pattern.search(message):
            facts = {"operator": "", **found.groupdict()}
            label = f"{facts['op_type']} {facts['operator']!r}" if facts["operator"] else facts["op_type"]
            return UnsupportedOperator(f"{NAME} does not support operator {label}", backend=NAME, **facts)
    return CompileError(f"{NAME}: {_one_line(message)}")


def _one_line(message: str) -> str:
    """The vendor's message without its error code, on one line."""
    return " ".join(re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message).split())[:500]


def _operator_s(file: Path) -> Mapping[str, float]:
    """Of the engine's trace (Chrome's format, microseconds): each kernel's median over the runs."""
    taken: dict[str, list[float]] = defaultdict(list)
    for event in json.loads(file.read_text()):
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"].removesuffix("_kernel_time")].append(event["dur"] * 1e-6)
    return {name: median(times) for name, times in taken.items()}
