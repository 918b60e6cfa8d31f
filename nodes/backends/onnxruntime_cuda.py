"""ONNX Runtime on an NVIDIA GPU, as a backend of its own name, so that a plan says which device it means.

Operators that CUDA lacks run on the CPU inside the same session, as ONNX Runtime places them, unless `cpu_fallback`
is off; a session in which CUDA took nothing is refused.
"""

from pathlib import Path

from nodes.backends.onnxruntime import OnnxRuntime
from nodes.backends.onnxruntime_provider import Provider
from nodes.errors import EngineMissing

NAME = "onnxruntime-cuda"
# Left to itself, CUDA multiplies float32 with 10 bits of precision (TF32).
CUDA = Provider(
    name="CUDAExecutionProvider",
    install='"isthmus[gpu]"',
    precisions={"float32": {"use_tf32": "0"}},
    kept="optimised",
)
DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux, and Linux under Windows


def load() -> OnnxRuntime:
    """The backend. EngineMissing where onnxruntime-gpu is not installed, or this machine has no NVIDIA GPU."""
    backend = OnnxRuntime(CUDA, name=NAME)
    if not any(device.exists() for device in DEVICES):
        raise EngineMissing(f"{NAME}: no NVIDIA GPU is here (no /dev/nvidiactl); use onnxruntime for the CPU")
    return backend
