"""Where boxes stand: columns along the flow, tracks beside each other as on a railway, rows as lines of a text.

A box stands in the column after the last one it reads. The longest way in continues on its track; a way that skips
columns gets a track of its own beside, kept free over all of them, so that no line runs through a box. The strip is
then broken into rows where the fewest ways cross, as lines of music are. Deterministic; it draws nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

from isthmus.plot.boxes import Boxes

ROW_COST, UNEVEN_COST, CROSSING_COST = 3.0, 5.0, 0.7  # what rows are broken by: few, even, where little crosses


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From one box to another; over the columns between them it runs on `track` (None: they are neighbours)."""

    source: int
    target: int
    track: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Column and track of each box, and every way; `rows` are half-open ranges of columns."""

    columns: tuple[int, ...]
    tracks: tuple[int, ...]
    ways: tuple[Way, ...]
    rows: tuple[tuple[int, int], ...]

    def tracks_in(self, row: tuple[int, int]) -> tuple[int, int]:
        """The lowest and the highest track that anything takes within a row."""
        first, end = row
        used = [track for column, track in zip(self.columns, self.tracks, strict=True) if first <= column < end]
        for way in self.ways:
            between = range(max(self.columns[way.source] + 1, first), min(self.columns[way.target], end))
            if way.track is not None and between:
                used.append(way.track)
        return min(used, default=0), max(used, default=0)


def columns_of(drawn: Boxes) -> tuple[int, ...]:
    """The column of each box: one after the last that it reads, and at the end of the strip for the way out.

    A box that reads nothing stands right before its first reader, so that no constant drags a line along.
    """
    columns: list[int] = []
    reads = drawn.reads
    for i in range(len(drawn.boxes)):
        columns.append(1 + max((columns[one] for one in reads[i]), default=0 if drawn.has_in and i else -1))
    for i in reversed(range(int(drawn.has_in), len(columns))):
        readers = [columns[reader] for sender, reader in drawn.edges if sender == i] if not reads[i] else []
        columns[i] = max(min(readers) - 1, int(drawn.has_in)) if readers else columns[i]
    if drawn.has_out:
        columns[-1] = 1 + max(columns[:-1])
    return tuple(columns)


def strip_of(drawn: Boxes, per_row: int) -> Strip:
    """The boxes laid out, with `per_row` columns in a row at most."""
    columns = columns_of(drawn)
    laying = _Laying(columns, drawn.reads)
    for i in sorted(range(len(columns)), key=lambda i: (columns[i], i)):
        laying.place(i)
    ways = tuple(sorted(laying.ways, key=lambda way: (way.source, way.target)))
    tracks = tuple(laying.track[i] for i in range(len(columns)))
    rows = _rows(columns, ways, 1 + max(columns), per_row)
    return Strip(columns=columns, tracks=tracks, ways=ways, rows=rows)


@dataclass(slots=True)
class _Laying:
    """What is laid so far: the track of each box, and which columns of which track are taken."""

    columns: Sequence[int]
    reads: dict[int, list[int]]
    track: dict[int, int] = field(default_factory=dict)
    ways: list[Way] = field(default_factory=list)
    taken: set[tuple[int, int]] = field(default_factory=set)
    continued: set[int] = field(default_factory=set)  # boxes whose own track some reader went on with
    trunks: dict[int, tuple[int, int]] = field(default_factory=dict)  # a box's side track, and where it ends

    def place(self, i: int) -> None:
        """Lay a box and the ways to it; all that it reads lie already."""
        column = self.columns[i]
        senders = sorted(self.reads[i], key=lambda one: (-self.columns[one], one))
        main = next((one for one in senders if self._may_continue(one, column)), None)
        if main is not None:
            self.track[i] = self.track[main]
            self.continued.add(main)
            self._take(self.track[i], self.columns[main] + 1, column + 1)
            skips = column - self.columns[main] > 1
            self.ways.append(Way(source=main, target=i, track=self.track[i] if skips else None))
        else:
            near = self.track[senders[0]] if senders else 0
            self.track[i] = self._free_near((near,), column, column + 1)
            self._take(self.track[i], column, column + 1)
        for one in senders:
            if one != main:
                self.ways.append(Way(source=one, target=i, track=self._side(one, i)))

    def _may_continue(self, sender: int, column: int) -> bool:
        track, first = self.track[sender], self.columns[sender] + 1
        return sender not in self.continued and self._is_free(track, first, column + 1)

    def _side(self, sender: int, i: int) -> int | None:
        """The track for a way that is not the main one: the sender's side track, gone on with, or a new one."""
        first, end = self.columns[sender] + 1, self.columns[i]
        if first == end:
            return None
        track, reached = self.trunks.get(sender, (0, 0))
        if sender in self.trunks and self._is_free(track, reached, end):
            self._take(track, reached, end)
            self.trunks[sender] = track, max(reached, end)
            return track
        track = self._free_near((self.track[i], self.track[sender]), first, end)
        self._take(track, first, end)
        self.trunks[sender] = track, end
        return track

    def _free_near(self, wanted: Sequence[int], first: int, end: int) -> int:
        return next(track for track in _outward(sum(wanted) // len(wanted)) if self._is_free(track, first, end))

    def _is_free(self, track: int, first: int, end: int) -> bool:
        return all((track, column) not in self.taken for column in range(first, end))

    def _take(self, track: int, first: int, end: int) -> None:
        self.taken.update((track, column) for column in range(first, end))


def _outward(middle: int) -> Iterator[int]:
    yield middle
    for distance in count(1):
        yield middle + distance
        yield middle - distance


def _rows(columns: Sequence[int], ways: Sequence[Way], total: int, per_row: int) -> tuple[tuple[int, int], ...]:
    """Rows of about equal length, each ended where few ways cross."""
    crossing = [0] * (total + 1)  # ways that lead over the border before each column
    for way in ways:
        for column in range(columns[way.source] + 1, columns[way.target] + 1):
            crossing[column] += 1
    even = total / -(-total // per_row)
    cost, before = [0.0], [0]  # of the best rows that end at each border, and where its last row begins
    for end in range(1, total + 1):
        fitting = range(max(0, end - per_row), end)
        costs = [cost[first] + ROW_COST + (1 - (end - first) / even) ** 2 * UNEVEN_COST for first in fitting]
        at = costs.index(min(costs))
        cost.append(costs[at] + (CROSSING_COST * crossing[end] if end < total else 0.0))
        before.append(fitting[at])
    borders = [total]
    while borders[-1]:
        borders.append(before[borders[-1]])
    return tuple(pairwise(reversed(borders)))
