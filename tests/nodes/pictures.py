"""Pictures made up for tests: slopes, an edge and some grain, in 8 bits."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


def picture(height: int, width: int, channels: int = 3, *, seed: int = 0, grain: float = 4.0) -> Pixels:
    """uint8 [channels, height, width] from a seed."""
    random = np.random.default_rng(seed)
    down, right = np.mgrid[0:height, 0:width] / max(height, width)
    shades = [
        60 * random.random() + 120 * (down * random.random() + right * random.random()) + 40 * (down > right)
        for _ in range(channels)
    ]
    noisy = np.stack(shades) + random.normal(0, grain, (channels, height, width))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def imagenet(pixels: Pixels) -> NDArray[np.float32]:
    """[N, 3, H, W] of 8 bits as most classifiers are fed."""
    mean, deviation = (part.astype(np.float32).reshape(3, 1, 1) for part in IMAGENET)
    return ((pixels / np.float32(255) - mean) / deviation).astype(np.float32)
