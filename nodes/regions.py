"""Which parts of a piece of memory are taken: first fit, whole pieces of 64 bytes; sans-IO.

It knows offsets only. First fit keeps what is taken at the beginning, so that memory which has been used once is used
again: pages that were never touched cost a fault each, and a cache knows nothing of them.
"""

from bisect import bisect_left

PIECE_BYTES = 64  # a cache line, and more than any engine asks of a tensor's address


class Regions:
    """Regions of `capacity_bytes`, which must be whole pieces."""

    def __init__(self, capacity_bytes: int) -> None:
        if capacity_bytes < PIECE_BYTES or capacity_bytes % PIECE_BYTES:
            raise ValueError(f"{capacity_bytes} bytes are no whole pieces of {PIECE_BYTES}")
        self.capacity_bytes = capacity_bytes
        self._free: list[tuple[int, int]] = [(0, capacity_bytes)]  # half-open, in order, never touching each other
        self._taken: dict[int, int] = {}  # begin → end
        self.taken_bytes = 0
        self.reached_bytes = 0  # where what was taken since `look_anew` ends

    def take(self, nbytes: int) -> int | None:
        """Where a region of at least so many bytes begins; None where none is free."""
        needed = max(1, -(-nbytes // PIECE_BYTES)) * PIECE_BYTES
        for index, (begin, end) in enumerate(self._free):
            if end - begin >= needed:
                self._free[index : index + 1] = [(begin + needed, end)] if end - begin > needed else []
                self._taken[begin] = begin + needed
                self.taken_bytes += needed
                self.reached_bytes = max(self.reached_bytes, begin + needed)
                return begin
        return None

    def look_anew(self) -> None:
        """From now on `reached_bytes` is about what is taken, and what will be."""
        self.reached_bytes = max(self._taken.values(), default=0)

    def give(self, begin: int) -> None:
        """Take a region back; KeyError for one that is not taken."""
        end = self._taken.pop(begin)
        self.taken_bytes -= end - begin
        index = bisect_left(self._free, (begin, end))
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == begin:
            index -= 1
            begin = self._free.pop(index)[0]
        self._free.insert(index, (begin, end))
