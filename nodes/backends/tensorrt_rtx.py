"""TensorRT-RTX, for consumer and workstation GPUs: the code of TensorRT, with libraries and a name of its own.

Its builder needs no GPU: `load(build_only=True).build_engine(model, compute_capability="8.9")`.
"""

from nodes.backends.tensorrt.backend import TensorRt
from nodes.backends.tensorrt.backend import load as load_flavour


def load(*, build_only: bool = False) -> TensorRt:
    """The backend; EngineMissing where its packages, a driver or a GPU are absent. `build_only` asks for no GPU."""
    return load_flavour("tensorrt-rtx", build_only=build_only)
