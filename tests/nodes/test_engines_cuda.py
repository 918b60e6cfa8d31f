"""CUDA by name: taken where there is a GPU, refused with the way out where there is none."""

from pathlib import Path

import pytest

from nodes.backends import onnxruntime_cuda
from nodes.backends.onnxruntime import CPU, OnnxRuntime
from nodes.errors import EngineMissing


def test_without_the_gpu_package_the_refusal_names_its_extra() -> None:
    available = OnnxRuntime().module.get_available_providers()
    if onnxruntime_cuda.CUDA in available:
        pytest.skip("needs the CPU package of ONNX Runtime, onnxruntime-gpu is installed")
    with pytest.raises(EngineMissing, match=r"isthmus\[gpu\]"):
        onnxruntime_cuda.load()


def test_without_a_gpu_the_refusal_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "CUDA", CPU[0])  # as if the package had it
    monkeypatch.setattr(onnxruntime_cuda, "DEVICES", (tmp_path / "nvidiactl",))
    with pytest.raises(EngineMissing, match="no NVIDIA GPU"):
        onnxruntime_cuda.load()


def test_with_a_gpu_cuda_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "CUDA", CPU[0])
    monkeypatch.setattr(onnxruntime_cuda, "DEVICES", (tmp_path,))
    assert onnxruntime_cuda.load().capabilities().devices[0] == "cpu"
