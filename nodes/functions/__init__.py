"""Registered functions: operators of domain "isthmus" that run as Python beside the engines.

Each takes the ONNX node's attributes as keyword parameters and arrays as arguments. Libraries that some need are
imported when such a one first runs.
"""

from collections.abc import Mapping

from nodes.errors import UnsupportedOperator
from nodes.functions.deciding import DECIDING
from nodes.functions.lines import LINES
from nodes.functions.matching import MATCHING
from nodes.functions.params import Function, Inferred, Param
from nodes.functions.pictures import MAX_PIXELS, PICTURES
from nodes.functions.sound import SOUND
from nodes.functions.sources import SOURCES
from nodes.functions.text import TEXT

__all__ = ["FUNCTIONS", "MAX_PIXELS", "Function", "Inferred", "Param", "function"]

FUNCTIONS: Mapping[str, Function] = {**PICTURES, **LINES, **SOUND, **TEXT, **DECIDING, **MATCHING, **SOURCES}


def function(name: str) -> Function:
    """The registered function of that name; UnsupportedOperator, naming those there are, for another."""
    if name not in FUNCTIONS:
        raise UnsupportedOperator(f"no registered function {name!r}; there are {', '.join(FUNCTIONS)}", op_type=name)
    return FUNCTIONS[name]
