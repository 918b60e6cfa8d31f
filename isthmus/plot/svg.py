"""SVG as text: elements, a page, and how wide words are. It knows nothing of plans.

Fonts differ from viewer to viewer, so widths are those of DejaVu Sans, the widest of the fonts asked for: what fits
by them fits everywhere.
"""

from collections.abc import Iterable
from xml.sax.saxutils import escape

FONTS = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, FAINT, RULE, PAPER = "#1f2933", "#52606d", "#cbd2d9", "#ffffff"
# Hundredths of the font size, for the characters from " " to "~".
_WIDTHS = (
    *(32, 40, 46, 84, 64, 95, 78, 27, 39, 39, 50, 84, 32, 36, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 34, 34),
    *(84, 84, 84, 53, 100, 68, 69, 70, 77, 63, 58, 77, 75, 29, 29, 66, 56, 86, 75, 79, 60, 79, 69, 63, 61, 73, 68, 99),
    *(69, 61, 69, 39, 34, 39, 84, 50, 50, 61, 63, 55, 63, 62, 35, 63, 63, 28, 28, 58, 28, 97, 63, 61, 63, 63, 41, 52),
    *(39, 63, 59, 82, 59, 59, 52, 64, 34, 64, 84),
)
_OTHER, _BOLD = {"·": 32, "–": 50, "’": 32}, 1.12
_HINTED = 1.06  # some viewers round each letter's width to whole pixels
_LEGAL_CONTROLS = "\t\n\r"


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """Pixels that a line of text takes at most; a character outside ASCII counts as a full square."""
    hundredths = sum(_WIDTHS[ord(one) - 32] if " " <= one <= "~" else _OTHER.get(one, 100) for one in words)
    return hundredths * size / 100 * _HINTED * (_BOLD if bold else 1.0)


def shortened(words: str, size: float, room: float, *, bold: bool = False) -> str:
    """The words, or their beginning and end around an ellipsis, so that they take `room` pixels at most."""
    if text_width(words, size, bold=bold) <= room:
        return words
    for kept in range(len(words) - 1, 1, -1):
        told = f"{words[: (kept + 1) // 2]}…{words[len(words) - kept // 2 :]}"
        if text_width(told, size, bold=bold) <= room:
            return told
    return "…"


def lines_of(words: str, size: float, room: float, most: int) -> list[str]:
    """The words broken into lines of `room` pixels, `most` of them at most; what is left over ends in an ellipsis."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (text_width(longer, size) <= room or len(lines) == most):
            lines[-1] = longer
        else:
            lines.append(word)
    return [shortened(line, size, room) for line in lines]


def number(value: float) -> str:
    """A coordinate: a hundredth of a pixel is fine enough."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def element(tag: str, *children: str, **attributes: str | float | None) -> str:
    """One element; an attribute's underscores become hyphens, one that is None is left out."""
    told = "".join(
        f' {name.strip("_").replace("_", "-")}="{quoted(value if isinstance(value, str) else number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{told}>{''.join(children)}</{tag}>" if children else f"<{tag}{told}/>"


def quoted(words: str) -> str:
    """Words as XML holds them, without the control characters that it can't."""
    legal = "".join(one for one in words if one >= " " or one in _LEGAL_CONTROLS)
    return escape(legal, {'"': "&quot;"}).encode("utf-8", "replace").decode()


def text(
    x: float, y: float, words: str, *, size: float = 12, anchor: str = "start", fill: str = INK, bold: bool = False
) -> str:
    """A line of text that stands on `y` and starts, ends or has its middle at `x`."""
    return element(
        "text", quoted(words), x=x, y=y, font_size=size, text_anchor=None if anchor == "start" else anchor,
        font_weight="bold" if bold else None, fill=fill,
    )  # fmt: skip


def rect(
    x: float, y: float, width: float, height: float, *, fill: str, stroke: str | None = None, told: str | None = None,
    **more: str | float | None,
) -> str:  # fmt: skip
    """A rectangle; `told` is shown where a pointer rests on it, and read aloud."""
    inside = () if told is None else (element("title", quoted(told)),)
    return element("rect", *inside, x=x, y=y, width=width, height=height, fill=fill, stroke=stroke, **more)


def line(
    x1: float, y1: float, x2: float, y2: float, *, stroke: str = RULE, width: float = 1, **more: str | float
) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width, **more)


def path(
    steps: Iterable[str | float], *, stroke: str | None = None, width: float = 1, fill: str = "none",
    **more: str | float | None,
) -> str:  # fmt: skip
    """A path from its commands and coordinates in turn."""
    d = " ".join(step if isinstance(step, str) else number(step) for step in steps)
    return element("path", d=d, fill=fill, stroke=stroke, stroke_width=width if stroke else None, **more)


def page(width: float, height: float, title: str, description: str, parts: Iterable[str]) -> str:
    """A whole SVG document on white, that tells what it shows to those who can't see it."""
    body = (
        element("title", quoted(title), id="title"),
        element("desc", quoted(description), id="desc"),
        rect(0, 0, width, height, fill=PAPER),
        *parts,
    )
    document = element(
        "svg",
        "\n",
        "\n".join(body),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby="title desc",
        font_family=FONTS,
    )
    return document + "\n"
