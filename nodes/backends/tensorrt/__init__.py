"""TensorRT, API 11 and 10, on an NVIDIA GPU; TensorRT-RTX is the same code under the name tensorrt-rtx."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.backends.tensorrt.backend import TensorRt


def load(*, build_only: bool = False) -> "TensorRt":
    """The backend; EngineMissing where its packages, a driver or a GPU are absent. `build_only` asks for no GPU."""
    from nodes.backends.tensorrt.backend import load as load_flavour

    return load_flavour("tensorrt", build_only=build_only)
