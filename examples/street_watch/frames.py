"""Draws a situation as a street camera would see it: walls, windows and boards with text, in poor light and noise.

The same take of a situation gives the same frame. Pillow brings one typeface, which is set in four cuts.
"""

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from examples.street_watch.situations import SITUATIONS, Sign

WIDTH, HEIGHT = 640, 480  # pixels
CUTS = ("plain", "bold", "slanted", "narrow")
# Of a board and of the letters on it.
_COLOURS = (
    ((245, 245, 240), (20, 20, 25)), ((250, 205, 40), (15, 15, 15)), ((25, 60, 140), (245, 245, 245)),
    ((20, 100, 60), (240, 240, 235)), ((165, 25, 30), (250, 250, 245)),
)  # fmt: skip
_MARGIN = 12
_QUALITY = 85


@cache
def frame(name: str, take: int = 0) -> bytes:
    """The situation's frame, a JPEG file. Another take of the same moment differs by its noise alone."""
    situation, at = SITUATIONS[name], list(SITUATIONS).index(name)
    random = np.random.default_rng(at)
    street = _street(random)
    for number, sign in enumerate(situation.signs):
        board = _board(sign, _COLOURS[(at + number) % len(_COLOURS)])
        places = len(situation.signs)
        x = round(WIDTH / 2 - board.width / 2 + random.integers(-40, 40))
        y = round(HEIGHT * (2 * number + 1) / (2 * places) - board.height / 2 + random.integers(-20, 20))
        street.paste(board, (x, y), board)
    lit = ImageEnhance.Brightness(street.filter(ImageFilter.GaussianBlur(0.6))).enhance(situation.light)
    random = np.random.default_rng((at, take)) if take else random
    noisy = np.asarray(lit, np.float64) + random.normal(0, situation.noise, (HEIGHT, WIDTH, 3))
    file = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _street(random: np.random.Generator) -> Image.Image:
    """A row of houses with windows."""
    made = Image.new("RGB", (WIDTH, HEIGHT), (150, 165, 185))
    draw = ImageDraw.Draw(made)
    left = 0
    while left < WIDTH:
        right, top = left + int(random.integers(110, 220)), int(random.integers(20, 120))
        wall = tuple(int(one) for one in random.integers(95, 150, 3))
        draw.rectangle((left, top, right, 430), wall)
        for x in range(left + 18, right - 30, 52):
            for y in range(top + 20, 400, 80):
                draw.rectangle((x, y, x + 26, y + 40), tuple(one - 35 for one in wall))
        left = right
    draw.rectangle((0, 430, WIDTH, HEIGHT), (80, 80, 84))
    return made


def _board(sign: Sign, colours: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Image.Image:
    """RGBA, turned."""
    font = ImageFont.load_default(size=sign.size)
    ground, ink = colours
    bold = sign.size // 20 if sign.cut == "bold" else 0
    boxes = [font.getbbox(line, stroke_width=bold) for line in sign.lines]
    step = round(sign.size * 1.5)
    width = round(max(box[2] - box[0] for box in boxes)) + 2 * _MARGIN
    text = Image.new("L", (width, step * len(sign.lines) + _MARGIN))
    for number, (line, box) in enumerate(zip(sign.lines, boxes, strict=True)):
        where = (_MARGIN - box[0], _MARGIN + number * step)
        ImageDraw.Draw(text).text(where, line, 255, font, stroke_width=bold)
    if sign.cut == "slanted":
        lean = 0.25
        size = (round(text.width + lean * text.height), text.height)
        sheared = (1, lean, -lean * text.height, 0, 1, 0)
        text = text.transform(size, Image.Transform.AFFINE, sheared, Image.Resampling.BICUBIC)
    elif sign.cut == "narrow":
        text = text.resize((round(0.8 * text.width), text.height))
    board = Image.new("RGBA", text.size, (*ground, 255))
    board.paste((*ink, 255), (0, 0), text)
    return board.rotate(-sign.degrees, Image.Resampling.BICUBIC, expand=True)
