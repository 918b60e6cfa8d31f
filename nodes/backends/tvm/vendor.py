"""The door to TVM: loads it once, with what must be set before its first thread starts. Nothing else imports it first.

TVM keeps a pool of threads per calling thread, as many as TVM_NUM_THREADS says when the pool starts; a session uses as
many of them as it was compiled for. Threads are not bound to cores, since two workers on one machine would bind
themselves to the same ones, and idle ones sleep soon, since other engines need the cores.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from math import inf, isnan
from typing import Any

from nodes.errors import EngineMissing

NAME = "tvm"
FFI_VERSION = "0.1.14.post0"  # later ones crash MetaSchedule: a segmentation fault in TuneContext
_INSTALL = 'pip install "isthmus[tvm]"'


def check_installed() -> None:
    """EngineMissing if TVM is absent, or beside a foreign-function layer that crashes its tuning. Imports nothing."""
    try:
        metadata.version("apache-tvm")
        have = metadata.version("apache-tvm-ffi")
    except metadata.PackageNotFoundError:
        raise EngineMissing(f"TVM is not installed; {_INSTALL}") from None
    if have != FFI_VERSION:
        raise EngineMissing(f"apache-tvm-ffi {have} crashes TVM's tuning; {_INSTALL} brings {FFI_VERSION}")


@cache
def tvm() -> Any:
    """The module `tvm`, which takes a second or two to import. EngineMissing as `check_installed`."""
    check_installed()
    os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    os.environ.setdefault("TVM_THREAD_POOL_SPIN_COUNT", "1000")
    try:
        with quiet():
            import tvm as module
            from tvm.relax.frontend.onnx import onnx_frontend
    except ImportError:
        raise EngineMissing(f"TVM is not installed; {_INSTALL}") from None
    onnx_frontend.print = lambda *_: None  # it prints operators that it fails on, which our error names
    _convert_clip(onnx_frontend.Clip)
    return module


def version() -> str:
    """TVM's version, such as 0.27.0.post1."""
    check_installed()
    return metadata.version("apache-tvm")


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the vendor's, which speak to its own developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def one_line(error: BaseException) -> str:
    """A vendor's message without its stack of C++ frames: the last line that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("File ", "Traceback", "at ", "[bt]", "#", "|"))]
    return " ".join((told[-1] if told else type(error).__name__).split())[:300]


def _convert_clip(converter: Any) -> None:
    """Clip between constants as one operator: as TVM writes it, two opaque ones, a layout change stops before it."""
    from tvm import relax
    from tvm.ir.expr import GenericConst

    original = converter._impl_v13

    def convert(_: Any, builder: Any, inputs: Any, attributes: Any, params: Any) -> Any:
        bounds = list(inputs[1:3]) + [None] * (3 - len(inputs))
        if any(bound is not None and not isinstance(bound, GenericConst) for bound in bounds):
            return original(builder, inputs, attributes, params)
        low, high = (
            edge if bound is None or isnan(value := float(bound.value.numpy())) else value
            for bound, edge in zip(bounds, (-inf, inf), strict=True)
        )
        dtype = str(inputs[0].ty.dtype)
        if not dtype.startswith("float"):
            return original(builder, inputs, attributes, params)
        return builder.emit(relax.op.clip(inputs[0], low, high))

    converter._impl_v13 = classmethod(convert)
