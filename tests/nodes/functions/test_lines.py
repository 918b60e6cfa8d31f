"""Lines of text: from a map to boxes, the right way up, and cut out."""

from math import cos, pi, sin

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nodes.errors import BadInput
from tests.nodes.functions.called import called

Floats = NDArray[np.float32]
SIZE = (120, 200)  # height and width of a map
LINE = (40.0, 50.0, 100.0, 20.0)  # left, top, width, height


def drawn(*rectangles: tuple[float, float, float, float], degrees: float = 0.0, value: float = 0.9) -> Floats:
    """A map in which these are text, each turned about its middle, clockwise as seen."""
    picture = Image.new("F", SIZE[::-1])
    for rectangle in rectangles:
        ImageDraw.Draw(picture).polygon([tuple(corner) for corner in corners(rectangle, degrees).tolist()], value)
    return np.asarray(picture)[None, None].copy()


def corners(rectangle: tuple[float, float, float, float], degrees: float = 0.0, more: float = 0.0) -> Floats:
    """Clockwise from the upper left, `more` to all sides."""
    left, top, width, height = rectangle
    turn = degrees * pi / 180
    along, across = np.array([cos(turn), sin(turn)]), np.array([-sin(turn), cos(turn)])
    sides = [(sx * (width / 2 + more) * along + sy * (height / 2 + more) * across) for sx, sy in SIGNS]
    return np.asarray(np.array([left + width / 2, top + height / 2]) + np.array(sides), np.float32)


SIGNS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def in_pixels(boxes: Floats) -> Floats:
    return boxes * np.float32(SIZE[::-1])


@pytest.mark.parametrize("degrees", [0, 12, -30])
def test_a_spot_becomes_its_smallest_rectangle_made_larger_by_area_over_girth(degrees: float) -> None:
    boxes, scores = called("text_boxes", drawn(LINE, degrees=degrees), most=3)
    more = 1.6 * 100 * 20 / 240
    np.testing.assert_allclose(in_pixels(boxes[0]), corners(LINE, degrees, more), atol=3)
    np.testing.assert_allclose(scores, [0.9, 0, 0], rtol=1e-6)
    assert not boxes[1:].any()


def test_a_box_is_told_as_parts_of_the_picture() -> None:
    (boxes, _), (others, _) = (
        called("text_boxes", one, unclip=0) for one in (drawn(LINE), drawn(LINE).repeat(2, axis=2).repeat(2, axis=3))
    )
    np.testing.assert_allclose(boxes, others)


def test_spots_that_are_weak_or_thin_are_no_text() -> None:
    assert not called("text_boxes", drawn(LINE, value=0.5))[1].any()
    assert called("text_boxes", drawn(LINE, value=0.5), least=0.4)[1].any()
    assert not called("text_boxes", drawn((40, 30, 100, 1)))[1].any()


def test_boxes_are_given_as_they_are_read() -> None:
    places = [(110.0, 18.0, 60.0, 12.0), (20.0, 70.0, 60.0, 12.0), (20.0, 22.0, 60.0, 12.0)]
    boxes, _ = called("text_boxes", drawn(*places), unclip=0)
    assert [[round(one) for one in in_pixels(box)[0]] for box in boxes[:3]] == [[20, 22], [110, 18], [20, 70]]


def test_of_more_boxes_the_surest_are_kept() -> None:
    chances = np.maximum(drawn((10, 10, 60, 12)), drawn((10, 60, 60, 12), value=0.7))
    _, scores = called("text_boxes", chances, most=1)
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)


def test_a_tall_box_begins_where_text_that_runs_upwards_does() -> None:
    """As PaddleOCR turns such: a quarter to the left, so that its right side becomes the top."""
    boxes, _ = called("text_boxes", drawn((90, 20, 16, 80)), most=1, unclip=0)
    np.testing.assert_allclose(in_pixels(boxes[0]), np.roll(corners((90, 20, 16, 80)), -1, axis=0), atol=1)


def test_boxes_stay_within_the_picture() -> None:
    boxes, scores = called("text_boxes", drawn((0, 0, 200, 30)), most=1)
    assert scores[0] > 0
    assert (boxes.min(), boxes.max()) == (0, 1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_and_full_of_text_are_taken(value: float) -> None:
    _, scores = called("text_boxes", np.full((1, 1, *SIZE), value, np.float32))
    assert scores.tolist() == [value, *[0] * 7]


def test_noise_of_very_many_spots_is_taken() -> None:
    chances = np.random.default_rng(0).random((1, 1, 480, 640), np.float32)
    boxes, _ = called("text_boxes", chances, threshold=0.8, least=0.0)
    assert boxes.shape == (8, 4, 2)


@pytest.mark.parametrize(
    ("chances", "told"),
    [
        (np.zeros((1, 1, 0, 5), np.float32), r"not \[1, 1, 0, 5\]"),
        (np.zeros((1, 3, 5, 5), np.float32), r"not \[1, 3, 5, 5\]"),
        (np.full((1, 1, 5, 5), np.nan, np.float32), "no numbers"),
        (np.broadcast_to(np.float32(0), (1, 1, 10_000, 10_000)), "10000 × 10000 exceeds 64,000,000 pixels"),
    ],
)
def test_what_is_no_map_is_refused(chances: Floats, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        called("text_boxes", chances)


def test_boxes_surely_upside_down_are_turned() -> None:
    boxes = np.stack([corners(LINE)] * 3) / np.float32(SIZE[::-1])
    (turned,) = called("turn_boxes", boxes, np.float32([[0.95, 0.05], [0.05, 0.95], [0.2, 0.8]]))
    np.testing.assert_array_equal(turned, [boxes[0], boxes[1][[2, 3, 0, 1]], boxes[2]])
    with pytest.raises(BadInput, match=r"3 boxes need chances \[3, 2\], not \[2, 2\]"):
        called("turn_boxes", boxes, np.zeros((2, 2), np.float32))


def striped(degrees: float = 0.0) -> NDArray[np.uint8]:
    """A line of text: four quarters, of which each is brighter than the one before."""
    picture = Image.new("RGB", SIZE[::-1], (0, 0, 0))
    whole = corners(LINE, degrees)
    for at, grey in enumerate((60, 120, 180, 240)):
        begin, end = (whole[0] + (whole[1] - whole[0]) * part / 4 for part in (at, at + 1))
        down = whole[3] - whole[0]
        quarter = [tuple(one.tolist()) for one in (begin, end, end + down, begin + down)]
        ImageDraw.Draw(picture).polygon(quarter, (grey, grey, 255 - grey))
    return np.asarray(picture)


def quarters(line: Floats) -> list[int]:
    """The middle of each quarter's first channel, as the picture had it."""
    width = 240  # 48 × 100 / 20
    return [round((float(line[0, 24, width * (2 * at + 1) // 8]) + 1) * 127.5) for at in range(4)]


@pytest.mark.parametrize("degrees", [0, 15, -40, 180])
def test_a_line_is_cut_out_level_whatever_its_angle(degrees: float) -> None:
    box = corners(LINE, degrees)[None] / np.float32(SIZE[::-1])
    (lines,) = called("cut_lines", striped(degrees), box)
    assert lines.shape == (1, 3, 48, 320)
    assert quarters(lines[0]) == [60, 120, 180, 240]
    assert not lines[0, :, :, 240:].any()  # filled up


def test_a_large_picture_gives_the_line_that_a_small_one_gives() -> None:
    box = corners(LINE)[None] / np.float32(SIZE[::-1])
    large = striped().repeat(20, axis=0).repeat(20, axis=1)
    assert quarters(called("cut_lines", large, box)[0][0]) == [60, 120, 180, 240]


def test_fine_detail_is_averaged_rather_than_skipped() -> None:
    fine = np.zeros((960, 960, 3), np.uint8)
    fine[::3] = 255
    whole = np.float32([[[0, 0], [1, 0], [1, 1], [0, 1]]])
    (lines,) = called("cut_lines", fine, whole, width=48)
    np.testing.assert_allclose(lines, -1 / 3, atol=0.1)


def test_a_wide_line_is_squeezed_and_no_box_gives_zeros() -> None:
    boxes = np.stack([corners(LINE) / np.float32(SIZE[::-1]), np.zeros((4, 2), np.float32)])
    (lines,) = called("cut_lines", striped(), boxes, width=100)
    assert [round((float(lines[0, 0, 24, at]) + 1) * 127.5) for at in (12, 37, 62, 87)] == [60, 120, 180, 240]
    assert not lines[1].any()


@pytest.mark.parametrize(
    ("picture", "box", "told"),
    [
        (np.zeros((5, 5), np.uint8), 0.0, r"a picture is uint8 \[height, width, 3\], not uint8 \[5, 5\]"),
        (np.zeros((0, 5, 3), np.uint8), 0.0, r"not uint8 \[0, 5, 3\]"),
        (np.zeros((5, 5, 3), np.uint8), 1.1, "corners outside the picture"),
        (np.zeros((5, 5, 3), np.uint8), np.nan, "or that are no numbers"),
    ],
)
def test_what_holds_no_line_is_refused(picture: NDArray[np.uint8], box: float, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        called("cut_lines", picture, np.full((1, 4, 2), box, np.float32))
    with pytest.raises(BadInput, match=r"boxes are float32 \[n, 4, 2\], not \[1, 4\]"):
        called("cut_lines", np.zeros((5, 5, 3), np.uint8), np.zeros((1, 4), np.float32))
