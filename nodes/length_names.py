"""What a free dimension is called that has one of several extents, and which those are: `length_16_48_128`.

Whoever is given a model with such a dimension knows by its name what it may be filled with. Imports nothing of onnx.
"""

import re
from collections.abc import Sequence

_NAME = re.compile(r"length((?:_[0-9]+)+)", re.ASCII)


def length_name(extents: Sequence[int]) -> str:
    """The name of a dimension with these extents, one at each length."""
    return "length_" + "_".join(map(str, extents))


def extents_of(name: str) -> tuple[int, ...]:
    """The extents that a dimension of this name has; none for another name."""
    found = _NAME.fullmatch(name)
    return tuple(map(int, found[1][1:].split("_"))) if found else ()
