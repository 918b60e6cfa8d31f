"""ONNX Runtime on an NVIDIA GPU, as a backend of its own name, so that a plan says which device it means.

Operators that CUDA lacks run on the CPU inside the same session, as ONNX Runtime places them; a session in which
CUDA itself was not taken is refused by onnxruntime.py.
"""

from pathlib import Path

from nodes.backends.onnxruntime import CPU, OnnxRuntime
from nodes.errors import EngineMissing

CUDA = "CUDAExecutionProvider"
DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux, and Linux under Windows


def load() -> OnnxRuntime:
    """The backend. EngineMissing where onnxruntime-gpu is not installed, or this machine has no NVIDIA GPU."""
    backend = OnnxRuntime((CUDA, *CPU))
    if not any(device.exists() for device in DEVICES):
        raise EngineMissing("onnxruntime-cuda: no NVIDIA GPU is here (no /dev/nvidiactl); use onnxruntime for the CPU")
    return backend
