"""ONNX Runtime's distributions: which are installed, and which clash."""

import sys
from types import SimpleNamespace

import pytest

from nodes.backends import onnxruntime as backend
from nodes.errors import CompileError, EngineMissing, UnsupportedOperator


def test_two_distributions_at_once_are_refused_with_the_way_out() -> None:
    with pytest.raises(EngineMissing, match="pip uninstall onnxruntime onnxruntime-gpu"):
        backend.check_distributions(["onnxruntime", "onnxruntime-gpu"])


@pytest.mark.parametrize("installed", [["onnxruntime"], ["onnxruntime-gpu"], []])
def test_one_distribution_is_fine(installed: list[str]) -> None:
    backend.check_distributions(installed)


def test_without_either_both_install_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineMissing, match=r"isthmus\[cpu\].*isthmus\[gpu\]"):
        backend.load()


def test_an_emptied_package_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(EngineMissing, match="not installed"):
        backend.load()


def test_a_provider_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineMissing, match=r"lacks MarsExecutionProvider \(it has .*CPU"):
        backend.load(["MarsExecutionProvider"])


def test_a_silent_fall_back_to_the_cpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = backend.load()
    monkeypatch.setattr(engine, "_providers", ("CUDAExecutionProvider", "CPUExecutionProvider"))
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(engine.module, "InferenceSession", lambda *_, **__: session)
    with pytest.raises(CompileError, match="fell back to CPUExecutionProvider from CUDAExecutionProvider"):
        engine.compile(b"")


@pytest.mark.parametrize(
    ("message", "operator", "op_type"),
    [
        (
            'This is an invalid model. In Node, ("n1", Foo, "", -1) : … , Error No Op registered for Foo with',
            "n1",
            "Foo",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : Fatal error: a.b:Foo(-1) is not a registered function/op", "", "a.b:Foo"),
        ("Could not find an implementation for Foo(13) node with name 'n2'", "n2", "Foo"),
    ],
)
def test_an_unsupported_operator_is_read_from_the_message(message: str, operator: str, op_type: str) -> None:
    error = backend.compile_error(message)
    assert isinstance(error, UnsupportedOperator)
    assert (error.operator, error.op_type, error.backend) == (operator, op_type, "onnxruntime")
