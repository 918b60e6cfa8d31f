"""Random crops of photographs that packages ship, as EfficientNet-Lite0 takes them; for calibrating and for judging.

No photograph serves both ends, so that nothing judged was seen before. Crops are squares of 40 to 100 % of the shorter
side, at random places, every second one mirrored, all drawn from a seed.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from isthmus.zoo.efficientnet import MEAN, SCALE, SIDE
from isthmus.zoo.packages import file_in
from nodes.backend import Array

SKIMAGE, SKLEARN = "data/", "datasets/images/"
TO_CALIBRATE = (
    "astronaut.png", "brick.png", "cell.png", "clock_motion.png", "coins.png", "color.png", "flower.jpg", "grass.png",
    "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "page.png", "retina.jpg", "text.png",
)  # fmt: skip
TO_JUDGE = ("camera.png", "chelsea.png", "china.jpg", "coffee.png", "moon.png", "motorcycle_right.png", "rocket.jpg")
LEAST = 0.4


def crops(photos: Sequence[str], each: int, seed: int) -> tuple[Mapping[str, Array], ...]:
    """`each` crops of every photograph, as feeds of the zoo's efficientnet_lite0."""
    random = np.random.default_rng(seed)
    return tuple({"input": planes} for photo in photos for planes in _of(photo, each, random))


def _of(photo: str, each: int, random: np.random.Generator) -> Iterator[Array]:
    from PIL import Image

    package = "sklearn" if photo in ("china.jpg", "flower.jpg") else "skimage"
    with Image.open(file_in(package, f"{SKLEARN if package == 'sklearn' else SKIMAGE}{photo}")) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    for _ in range(each):
        side = random.uniform(LEAST, 1) * min(width, height)
        left, top = random.uniform(0, width - side), random.uniform(0, height - side)
        box = (left, top, left + side, top + side)
        pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box), np.float32)
        mirrored = pixels[:, ::-1] if random.random() < 0.5 else pixels
        yield np.ascontiguousarray(((mirrored - MEAN) / SCALE).transpose(2, 0, 1)[None].astype(np.float32))
