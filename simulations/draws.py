"""Random numbers by purpose and name: the same seed gives each user, cell and machine the same luck in every scenario.

So two scenarios that differ in one thing differ by that thing alone (common random numbers), and no process depends on
how many others there are or in which order they draw.
"""

from zlib import crc32

import numpy as np


class Draws:
    """The lots of one replication."""

    def __init__(self, seed: int, replication: int) -> None:
        self._begin = (seed, replication)

    def of(self, purpose: str, name: str = "") -> np.random.Generator:
        """A generator of its own for this purpose of this thing."""
        return np.random.default_rng([*self._begin, crc32(purpose.encode()), crc32(name.encode())])
