"""Shares as heat maps side by side in one SVG: a cell per combination, the darker the larger; 0 says 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.plot.colours import OKABE_ITO, ink_on, tint
from isthmus.plot.svg import FAINT, lines_of, page, rect, text

CELL_WIDTH, CELL_HEIGHT, GROUP_GAP = 42.0, 17.0, 9.0
LEFT, TOP, LABELS, PANEL_GAP, HEAD = 28.0, 44.0, 156.0, 40.0, 74.0
NOTHING = "#f3f4f6"
DARKEST = 0.6  # the share from which on a cell is as dark as it gets


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One map: `shares[group][row][column]`, each from 0 to 1."""

    title: str
    told: str  # below the title
    shares: Sequence[Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """What the maps' axes say, alike for all panels."""

    column_name: str
    columns: Sequence[str]
    groups: Sequence[str]
    rows: Sequence[str]

    @property
    def width(self) -> float:
        """Pixels of a panel."""
        return LABELS + CELL_WIDTH * len(self.columns)

    @property
    def height(self) -> float:
        """Pixels of a panel, with its title and axis."""
        rows = len(self.groups) * (len(self.rows) * CELL_HEIGHT + GROUP_GAP)
        return HEAD + rows + 14


def heat_map(title: str, told: str, scales: Scales, panels: Sequence[Panel]) -> str:
    """The panels, two beside each other, as an SVG document."""
    width = 2 * LEFT + 2 * scales.width + PANEL_GAP
    parts = [text(LEFT, TOP, title, size=22, bold=True)]
    y = TOP + 8
    for words in lines_of(told, 12, width - 2 * LEFT, 4):
        y += 17
        parts.append(text(LEFT, y, words, size=12, fill=FAINT))
    y += 34
    for number, panel in enumerate(panels):
        left = LEFT + (number % 2) * (scales.width + PANEL_GAP)
        parts += _panel(panel, scales, left, y + (number // 2) * (scales.height + 26))
    bottom = y + -(-len(panels) // 2) * (scales.height + 26)
    return page(width, bottom, title, f"{told} {'. '.join(f'{one.title}: {one.told}' for one in panels)}", parts)


def _panel(panel: Panel, scales: Scales, left: float, top: float) -> list[str]:
    parts = [text(left, top, panel.title, size=15, bold=True), text(left, top + 18, panel.told, size=12)]
    y, first = top + HEAD - 22, left + LABELS
    parts.append(text(first - 8, y, scales.column_name, size=10.5, anchor="end", fill=FAINT))
    for column, words in enumerate(scales.columns):
        parts.append(text(first + CELL_WIDTH * (column + 0.5), y, words, size=10.5, anchor="middle", fill=FAINT))
    y += 6
    for name, group in zip(scales.groups, panel.shares, strict=True):
        height = CELL_HEIGHT * len(group)
        parts.append(text(left, y + height / 2 + 4, name, size=12, bold=True))
        for row_name, row in zip(scales.rows, group, strict=True):
            parts.append(text(first - 8, y + 12, row_name, size=10.5, anchor="end", fill=FAINT))
            for column, share in enumerate(row):
                told = f"{scales.columns[column]} {scales.column_name}, {row_name}, {name}: {share:.1%}"
                parts += _cell(share, first + CELL_WIDTH * column, y, told)
            y += CELL_HEIGHT
        y += GROUP_GAP
    return parts


def _cell(share: float, left: float, top: float, told: str) -> list[str]:
    fill = tint(OKABE_ITO[0], 0.12 + 0.88 * min(share / DARKEST, 1.0)) if share > 0 else NOTHING
    words = "0" if share <= 0 else "<1" if share < 0.005 else f"{share * 100:.0f}"
    ink = ink_on(fill) if share > 0 else "#9aa5b1"
    return [
        rect(left, top, CELL_WIDTH - 1.5, CELL_HEIGHT - 1.5, fill=fill, told=told, rx=2),
        text(left + CELL_WIDTH / 2, top + 12, words, size=10.5, anchor="middle", fill=ink),
    ]
