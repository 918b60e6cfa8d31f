"""The zoo's orientation classifier: against its source model, on printed lines upright and turned by 180°."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from isthmus.zoo import ocr
from tests.contracts.backend_models import zoo_model

HEIGHT, WIDTH = ocr.ORIENT_SHAPE[2:]
SIGNS = ("Station Road", "No parking", "Keep left", "Mill Lane 12")


def line(text: str, turned: bool) -> NDArray[np.float32]:
    """A printed line as the classifier takes it: shrunk to fit, -1 to 1, padded with 0 on the right."""
    font = ImageFont.load_default(size=34)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    drawn = Image.new("RGB", (right - left + 12, bottom - top + 12), "white")
    ImageDraw.Draw(drawn).text((6 - left, 6 - top), text, "black", font)
    drawn = drawn.rotate(180) if turned else drawn
    width = min(WIDTH, -(-HEIGHT * drawn.width // drawn.height))
    pixels = np.asarray(drawn.resize((width, HEIGHT)), np.float32)
    made = np.zeros(ocr.ORIENT_SHAPE, np.float32)
    made[0, :, :, :width] = pixels.transpose(2, 0, 1) / 127.5 - 1
    return made


def probabilities(model: str, given: NDArray[np.float32]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: given})[0])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("text", SIGNS)
def test_a_line_turned_by_180_degrees_is_told_from_one_upright_as_the_source_tells(text: str, turned: bool) -> None:
    given = line(text, turned)
    made = probabilities(str(zoo_model("ocr_orient")), given)
    assert made.shape == (1, 2)
    assert int(made.argmax()) == int(turned)
    np.testing.assert_allclose(made, probabilities(str(ocr.orient()), given), atol=1e-5)
