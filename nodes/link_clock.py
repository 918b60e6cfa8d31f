"""When messages arrive over emulated links: FIFO per link, rate and propagation, store-and-forward. Pure.

A message leaves a link when every byte before it has; it arrives a propagation later. A changed rate holds at once
for the bytes that have not left yet. Whoever owns the clock does the waiting.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from nodes.errors import NodesError

Ends = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedLink:
    """One direction between two nodes as it is to be emulated."""

    source: str
    target: str
    bytes_per_s: float
    propagation_s: float

    def __post_init__(self) -> None:
        if not self.bytes_per_s > 0 or self.propagation_s < 0:
            raise NodesError(
                f"link {self.source} → {self.target}: rate must be above 0 and propagation not negative, "
                f"got {self.bytes_per_s:g} bytes/s and {self.propagation_s:g} s"
            )


@dataclass(slots=True)
class LinkClock:
    """One link's queue: items in, (arrival_s, item) out."""

    bytes_per_s: float
    propagation_s: float
    _leaving: deque[tuple[float, float, Hashable]] = field(default_factory=deque)  # leaves_s, takes_s, item

    def send(self, item: Hashable, nbytes: int, now_s: float) -> float:
        """Queue an item; when it will arrive if nothing changes."""
        start_s = max(now_s, self._leaving[-1][0]) if self._leaving else now_s
        takes_s = nbytes / self.bytes_per_s
        self._leaving.append((start_s + takes_s, takes_s, item))
        return start_s + takes_s + self.propagation_s

    def change(self, bytes_per_s: float, propagation_s: float, now_s: float) -> None:
        """From `now_s` on, bytes that have not left yet leave at the new rate."""
        stretch = self.bytes_per_s / bytes_per_s
        busy_until_s = now_s
        for index, (leaves_s, takes_s, item) in enumerate(self._leaving):
            if leaves_s > now_s:
                takes_s = min(takes_s, leaves_s - now_s) * stretch  # noqa: PLW2901
                busy_until_s += takes_s
                self._leaving[index] = (busy_until_s, takes_s, item)
        self.bytes_per_s, self.propagation_s = bytes_per_s, propagation_s

    def next_s(self) -> float | None:
        """When the next item arrives; None if the link is empty."""
        return self._leaving[0][0] + self.propagation_s if self._leaving else None

    def due(self, now_s: float) -> list[tuple[float, Hashable]]:
        """Take out what has arrived by `now_s`, in order."""
        arrived = []
        while self._leaving and self._leaving[0][0] + self.propagation_s <= now_s:
            leaves_s, _, item = self._leaving.popleft()
            arrived.append((leaves_s + self.propagation_s, item))
        return arrived


@dataclass(frozen=True, slots=True)
class _Travelling:
    """A message with the links still before it."""

    item: Hashable
    nbytes: int
    path: tuple[Ends, ...]


@dataclass(slots=True)
class Roads:
    """Every link of an emulated topology, and the paths over them.

    Messages are stored and forwarded: each link of a path is paid fully, in turn. Control messages (`express`) pay
    rate and propagation but wait for nobody, as between the parts of a large message on a real link.
    """

    _clocks: dict[Ends, LinkClock] = field(default_factory=dict)
    _paths: dict[Ends, tuple[Ends, ...]] = field(default_factory=dict)
    _express: list[tuple[float, int, Hashable]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)

    def shape(self, links: Iterable[ShapedLink], paths: Mapping[Ends, tuple[Ends, ...]], now_s: float) -> None:
        """Set the rates of these links and replace all paths; what is in flight goes on at the new rates.

        A pair that `paths` leaves out uses its direct link. NodesError for a path over a link that nobody named.
        """
        for link in links:
            clock = self._clocks.get((link.source, link.target))
            if clock is None:
                self._clocks[link.source, link.target] = LinkClock(link.bytes_per_s, link.propagation_s)
            else:
                clock.change(link.bytes_per_s, link.propagation_s, now_s)
        for (source, target), path in paths.items():
            if missing := [ends for ends in path if ends not in self._clocks]:
                raise NodesError(f"path {source} → {target} uses link {' → '.join(missing[0])}, which is not shaped")
        self._paths = {ends: (ends,) for ends in self._clocks} | dict(paths)

    def path(self, source: str, target: str) -> tuple[Ends, ...]:
        """The links from source to target; empty where nothing is emulated."""
        return self._paths.get((source, target), ())

    def send(self, item: Hashable, path: tuple[Ends, ...], nbytes: int, now_s: float) -> None:
        """Put a message on the first link of a path that isn't empty."""
        self._clocks[path[0]].send(_Travelling(item, nbytes, path[1:]), nbytes, now_s)

    def send_express(self, item: Hashable, path: tuple[Ends, ...], nbytes: int, now_s: float) -> None:
        """Send a small control message past the queues."""
        links = [self._clocks[ends] for ends in path]
        arrives_s = now_s + sum(link.propagation_s + nbytes / link.bytes_per_s for link in links)
        heappush(self._express, (arrives_s, next(self._order), item))

    def next_s(self) -> float | None:
        """When to look again; None if nothing is under way."""
        times = [time_s for clock in self._clocks.values() if (time_s := clock.next_s()) is not None]
        return min([*times, *(entry[0] for entry in self._express[:1])], default=None)

    def due(self, now_s: float) -> list[Hashable]:
        """Items that reached the end of their path by `now_s`; others move on to their next link."""
        arrived: list[tuple[float, Hashable]] = []
        while self._express and self._express[0][0] <= now_s:
            arrives_s, _, item = heappop(self._express)
            arrived.append((arrives_s, item))
        moved = True
        while moved:
            moved = False
            for clock in self._clocks.values():
                for arrives_s, item in clock.due(now_s):
                    moved = True
                    self._arrive(item, arrives_s, arrived)
        return [item for _, item in sorted(arrived, key=lambda entry: entry[0])]

    def _arrive(self, item: Hashable, arrives_s: float, arrived: list[tuple[float, Hashable]]) -> None:
        if not isinstance(item, _Travelling):
            raise TypeError(f"{item!r} was put on a link without a path")
        if item.path:
            self.send(item.item, item.path, item.nbytes, arrives_s)
        else:
            arrived.append((arrives_s, item.item))
