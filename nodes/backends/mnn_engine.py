"""MNN's package: found, kept quiet, and its tensors made of numpy's and back. The vendor is imported nowhere else."""

import ctypes
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from nodes.backend import Array
from nodes.errors import EngineMissing

_CHATTER = (b"The device supports", b"MNN use ")
_AT_HWCAP, _ASIMDHP = 16, 1 << 10  # Linux, arm64: half floats in vector registers
_stdout = Lock()


@cache
def engine() -> ModuleType:
    """The package; EngineMissing where it is absent."""
    try:
        with quiet():
            import MNN
            import MNN.expr
            import MNN.nn
    except ImportError:
        raise EngineMissing('MNN is not installed; pip install "isthmus[mnn]"') from None
    engine: ModuleType = MNN
    return engine


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the engine's chatter from standard output, where a program's JSON may stand; other lines are passed on."""
    flush = ctypes.CDLL(None).fflush
    with _stdout, tempfile.TemporaryFile() as spool:
        if sys.stdout is not None:
            sys.stdout.flush()
        flush(None)
        kept = os.dup(1)
        os.dup2(spool.fileno(), 1)
        try:
            yield
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
            spool.seek(0)
            if others := b"".join(line for line in spool if not line.startswith(_CHATTER)):
                os.write(1, others)


def has_half_floats() -> bool:
    """Whether this CPU computes in float16: ARMv8.2 and later."""
    if platform.machine() != "aarch64":
        return False
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_ulong
    return bool(getauxval(_AT_HWCAP) & _ASIMDHP)


@cache
def tensor_types(engine: Any) -> Mapping[str, Any]:
    """Types of the interpreter's tensors by numpy's names."""
    return {
        "float32": engine.Halide_Type_Float,
        "int32": engine.Halide_Type_Int,
        "uint8": engine.Halide_Type_Uint8,
    }


def variable(array: Array) -> Any:
    """A float32, int32 or uint8 array as an input of a module, copied."""
    from MNN import expr

    types = {"float32": expr.float, "int32": expr.int, "uint8": expr.uint8}
    return expr.const(array, list(array.shape), expr.NCHW, types[array.dtype.name])


def array_of(variable: Any, dtype: str) -> Array:
    """A module's output as an array of the caller's own."""
    shape = variable.shape
    if 0 in shape:  # which the engine can't read
        return np.empty(shape, dtype)
    made: Array = np.array(variable.read(), dtype=dtype)
    return made


def one_line(error: BaseException) -> str:
    """The vendor's message: what caused its SystemError, if that is what was raised."""
    return " ".join(str(error.__cause__ or error).split())[:500] or type(error).__name__
