"""Programs: an artifact's steps as one session."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nodes import program
from nodes.artifact import FunctionStep, ModelStep, write
from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput, CompileError, RunError, UnsupportedOperator
from nodes.functions import Function
from nodes.program import Program
from tests.nodes.onnx_models import artifact_of, dense, info, model_of, node

PLANES = TensorSpec("planes", "float32", (1, 3, 2, 2))
RESIZE = FunctionStep(function="resize", inputs=("picture",), outputs=("small",), params={"size": [2, 2]})
NORMALISE = FunctionStep(function="normalise", inputs=("small",), outputs=("planes",))
DOUBLE = ModelStep(onnx="model-0.onnx", inputs=("planes",), outputs=("doubled",))
PICTURE = TensorSpec("picture", "uint8", (None, None, 3))
DOUBLED = TensorSpec("doubled", "float32", (1, 3, 2, 2))


def doubling(folder: Path, *steps: FunctionStep | ModelStep) -> Path:
    """resize → normalise → an ONNX model that adds its input to itself."""
    model = model_of(
        [node("Add", ["planes", "planes"], ["doubled"])], [info("planes", 1, 3, 2, 2)], [info("doubled", 1, 3, 2, 2)]
    )
    return artifact_of(folder, model, steps or (RESIZE, NORMALISE, DOUBLE), [PICTURE], [DOUBLED, PLANES])


def dense_program(folder: Path) -> Program:
    x, y = TensorSpec("x", "float32", (1, 8)), TensorSpec("y", "float32", (1, 4))
    step = ModelStep(onnx="model-0.onnx", inputs=("x",), outputs=("y", "hidden"))
    return Program.load(artifact_of(folder, dense(), [step], [x], [y]))


def test_functions_and_models_run_in_turn(tmp_path: Path) -> None:
    made = Program.load(doubling(tmp_path)).run({"picture": np.full((4, 4, 3), 21, np.uint8)})
    assert list(made) == ["doubled", "planes"]
    assert set(made["doubled"].ravel()) == {42.0}


def test_only_the_outputs_asked_for_are_given(tmp_path: Path) -> None:
    assert list(dense_program(tmp_path).run({"x": np.ones((1, 8), np.float32)})) == ["y"]


def test_everything_wrong_with_the_inputs_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing 'x'; surplus 'z' \(takes x float32\[1, 8\]\)"):
        dense_program(tmp_path).run({"z": np.ones((1, 8), np.float32)})


@pytest.mark.parametrize(
    ("array", "fault"),
    [(np.ones((1, 8)), "is float64, must be float32"), (np.ones((2, 8), np.float32), r"has shape \[2, 8\], must be")],
)
def test_a_wrong_dtype_or_shape_is_named(tmp_path: Path, array: Array, fault: str) -> None:
    with pytest.raises(BadInput, match=f"'x' {fault}"):
        dense_program(tmp_path).run({"x": array})


def test_a_picture_that_cannot_be_decoded_names_its_input(tmp_path: Path) -> None:
    decode = FunctionStep(function="decode_jpeg", inputs=("photo",), outputs=("picture",))
    photo = TensorSpec("photo", "uint8", (None,))
    loaded = Program.load(artifact_of(tmp_path, dense(), [decode], [photo], [PICTURE]))
    with pytest.raises(BadInput, match="decode_jpeg of 'photo'"):
        loaded.run({"photo": np.zeros(9, np.uint8)})
    file = BytesIO()
    Image.new("RGB", (5, 3)).save(file, "JPEG")
    assert loaded.run({"photo": np.frombuffer(file.getvalue(), np.uint8)})["picture"].shape == (3, 5, 3)


def test_what_a_function_raises_is_a_run_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Program.load(doubling(tmp_path))

    def broken(*_: object) -> None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(program, "function", lambda name: Function(broken, broken, (), ()))  # type: ignore[arg-type]
    with pytest.raises(RunError, match="resize: ZeroDivisionError: no"):
        loaded.run({"picture": np.zeros((4, 4, 3), np.uint8)})


def test_an_unknown_function_is_refused_before_anything_compiles(tmp_path: Path) -> None:
    unknown = FunctionStep(function="translate", inputs=("picture",), outputs=("doubled",))
    with pytest.raises(UnsupportedOperator, match="translate"):
        Program.load(doubling(tmp_path, unknown, RESIZE, NORMALISE))


@pytest.mark.parametrize("steps", [(NORMALISE, RESIZE), (RESIZE,)])
def test_steps_that_cannot_run_in_their_order_are_refused(tmp_path: Path, steps: tuple[FunctionStep, ...]) -> None:
    with pytest.raises(CompileError, match="which no"):
        Program.load(doubling(tmp_path, *steps))


def test_a_piece_that_fails_to_compile_frees_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Fake:
        def compile(self, model: Path, **_: object) -> "Fake":
            if closed or model.name == "bad.onnx":
                raise CompileError("no")
            return self

        def close(self) -> None:
            closed.append("model-0.onnx")

    monkeypatch.setattr(program, "load_backend", lambda name: Fake())
    folder = doubling(tmp_path)
    (folder / "bad.onnx").write_bytes(b"")
    bad = ModelStep(onnx="bad.onnx", inputs=("planes",), outputs=("more",))
    write(folder, steps=[RESIZE, NORMALISE, DOUBLE, bad], inputs=[PICTURE], outputs=[DOUBLED])
    with pytest.raises(CompileError):
        Program.load(folder)
    assert closed == ["model-0.onnx"]
