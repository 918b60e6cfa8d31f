"""What an engine must be: Backend compiles a model, Session runs it. Vendors load when first asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nodes.errors import EngineMissing

Array = NDArray[np.generic]
Option = str | int | float | bool
NO_OPTIONS: Mapping[str, Option] = {}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A session's input or output; a dimension of None is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do here, known before anything is compiled.

    `free_shapes`: whether an input may have free dimensions. `operators` are the types of ONNX's own domain that it
    compiles, None where the engine has no list of them.
    `options` says what each option of `compile` is for, in one line.
    """

    backend: str
    version: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    free_shapes: bool = True
    operators: frozenset[str] | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Session(Protocol):
    """A compiled model. One thread runs it at a time; its outputs belong to the caller."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. BadInput for tensors that don't fit, RunError for the engine's own failure."""
        ...

    def operator_s(self) -> Mapping[str, float] | None:
        """Median seconds per run and kernel so far, if compiled with `profile=True` and the engine tells.

        A key is an operator's name, or those of several that the kernel fuses, joined by commas.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory; a closed session is not run again."""
        ...


class Backend(Protocol):
    """An engine."""

    def capabilities(self) -> Capabilities:
        """Version, devices and precisions found on this machine."""
        ...

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> Session:
        """A session for an ONNX model; `options` are the engine's own, as its capabilities list them.

        UnsupportedOperator or CompileError, never a silent fallback; an option it doesn't know is a CompileError.
        """
        ...


_PROVIDERS = "nodes.backends.onnxruntime_providers"
BACKENDS = {  # name → module, or module:function where several share one
    "onnxruntime": "nodes.backends.onnxruntime",
    "onnxruntime-cuda": "nodes.backends.onnxruntime_cuda",
    "onnxruntime-coreml": f"{_PROVIDERS}:coreml",
    "onnxruntime-dml": f"{_PROVIDERS}:dml",
    "onnxruntime-migraphx": f"{_PROVIDERS}:migraphx",
    "onnxruntime-openvino": f"{_PROVIDERS}:openvino",
    "onnxruntime-qnn": f"{_PROVIDERS}:qnn",
    "onnxruntime-tensorrt": f"{_PROVIDERS}:tensorrt",
    "onnxruntime-tensorrt-rtx": f"{_PROVIDERS}:tensorrt_rtx",
    "onnxruntime-vitisai": f"{_PROVIDERS}:vitisai",
    "onnxruntime-webgpu": f"{_PROVIDERS}:webgpu",
    "openvino": "nodes.backends.openvino",
    "mnn": "nodes.backends.mnn",
    "tvm": "nodes.backends.tvm",
    "tensorrt": "nodes.backends.tensorrt",
    "tensorrt-rtx": "nodes.backends.tensorrt_rtx",
}


def load_backend(name: str) -> Backend:
    """The backend of that name. EngineMissing where its package is absent, KeyError for an unknown name."""
    module, _, function = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), function or "load")()
    return backend


def installed_backends() -> tuple[str, ...]:
    """Backends whose packages are installed here, in the registry's order."""
    found = []
    for name in BACKENDS:
        try:
            load_backend(name)
        except EngineMissing:
            continue
        found.append(name)
    return tuple(found)
