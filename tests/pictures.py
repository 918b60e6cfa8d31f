"""What tests see of an SVG document: its words with the place each takes, by the widest font's widths."""

from collections.abc import Iterator
from itertools import combinations
from xml.etree import ElementTree

from isthmus.plot.svg import text_width

SVG = "{http://www.w3.org/2000/svg}"
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.encode())


def words(svg: str) -> list[str]:
    return [one.text or "" for one in drawn(svg).iter(f"{SVG}text")]


def texts(svg: str) -> Iterator[tuple[str, Rectangle]]:
    """Every line of text with the place it takes."""
    for one in drawn(svg).iter(f"{SVG}text"):
        told, size = one.text or "", float(one.attrib["font-size"])
        width = text_width(told, size, bold=one.get("font-weight") == "bold")
        shift = {"start": 0.0, "middle": width / 2, "end": width}[one.get("text-anchor", "start")]
        left, y = float(one.attrib["x"]) - shift, float(one.attrib["y"])
        yield told, (left, y - size * 0.75, left + width, y + size * 0.2)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def overlapping(svg: str) -> list[tuple[str, str]]:
    """Pairs of words that lie over each other."""
    return [(one[0], other[0]) for one, other in combinations(texts(svg), 2) if overlap(one[1], other[1])]
