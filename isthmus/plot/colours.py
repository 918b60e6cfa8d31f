"""Colours that people with any colour vision tell apart (Okabe, Ito: Color universal design, 2008), and who gets which.

A node keeps its colour in the graph, in the bar of time and in the curve. A plan that is not split has its node's,
split plans have those that no node took.
"""

from collections.abc import Iterable, Sequence

OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7f7f7f", "#000000")
SPLITS_FIRST = ("#d55e00", "#cc79a7", "#56b4e9", "#000000", "#009e73", "#e69f00", "#0072b2", "#7f7f7f")


def node_colours(nodes: Iterable[str]) -> dict[str, str]:
    """A colour for each node in turn; from the ninth on they come again."""
    return {name: OKABE_ITO[i % len(OKABE_ITO)] for i, name in enumerate(dict.fromkeys(nodes))}


def split_colours(taken: Iterable[str]) -> Sequence[str]:
    """The colours left for split plans, in turn; all of them if the nodes took nearly every one."""
    used = set(taken)
    left = tuple(one for one in SPLITS_FIRST if one not in used)
    return left if len(left) > 1 else SPLITS_FIRST


def tint(colour: str, share: float) -> str:
    """`share` of the colour, the rest white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on it (relative luminance of sRGB, WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"
