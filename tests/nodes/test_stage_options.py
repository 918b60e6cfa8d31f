"""Threads and batch are the stage's: the engine is compiled with the rest, with so many threads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nodes import program
from nodes.artifact import ModelStep
from nodes.backend import Option, TensorSpec, load_backend
from nodes.errors import CompileError
from nodes.program import Program
from nodes.stage_options import stage_options
from tests.nodes.onnx_models import artifact_of, dense


def compiled_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Option], threads: int
) -> dict[str, Any]:
    told: dict[str, Any] = {}

    class Spy:
        def compile(self, model: Path, **given: Any) -> Any:
            told.update(given)
            return load_backend("onnxruntime").compile(model, **given)

    monkeypatch.setattr(program, "load_backend", lambda name: Spy())
    step = ModelStep(onnx="model-0.onnx", inputs=("x",), outputs=("y", "hidden"))
    ends = [TensorSpec("x", "float32", (1, 8))], [TensorSpec("y", "float32", (1, 4))]
    Program.load(artifact_of(folder, dense(), [step], *ends), threads=threads, options=options).close()
    return told


def test_threads_of_the_options_go_before_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = compiled_with(tmp_path, monkeypatch, {"threads": 1, "batch": 4, "level": "basic"}, threads=4)
    assert (told["threads"], told["options"]) == (1, {"level": "basic"})


def test_without_the_option_an_engine_has_the_nodes_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled_with(tmp_path, monkeypatch, {}, threads=2)["threads"] == 2


@pytest.mark.parametrize("option", [{"threads": 0}, {"threads": True}, {"batch": "4"}, {"batch": 1.5}])
def test_what_is_no_count_is_refused_by_name(option: Mapping[str, Option]) -> None:
    (name,) = option
    with pytest.raises(CompileError, match=f"tvm: option {name} is .*, must be a whole number from 1 up"):
        stage_options("tvm", option, threads=2)
