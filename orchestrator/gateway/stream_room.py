"""How far a stream of requests is read on: so many may be under way, and so many bytes be held for them.

An answer counts until its reader has taken it, so whoever does not read is not read from, and costs no more memory than
this. How large an answer will be nobody knows before it is there; the largest of the stream so far is what counts.
"""

import asyncio

MOST, MOST_BYTES = 32, 64 << 20


class StreamRoom:
    """Room for the requests of one stream, which one task reads. There is always room for one, however large it is."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._under_way, self._nbytes, self._largest = 0, 0, 0
        self._left = asyncio.Event()

    async def enter(self, nbytes: int) -> int:
        """Wait until a request of so many bytes fits; what it counts for."""
        while not self._fits(nbytes):
            self._left.clear()
            await self._left.wait()
        counted = nbytes + self._largest
        self._under_way += 1
        self._nbytes += counted
        return counted

    def answered(self, counted: int, nbytes: int) -> int:
        """Its answer has so many bytes, and is all that is held for it now; what it counts for from now on."""
        self._largest = max(self._largest, nbytes)
        self._nbytes += nbytes - counted
        self._left.set()
        return nbytes

    def leave(self, counted: int) -> None:
        """Its answer has been taken, or it came to none."""
        self._under_way -= 1
        self._nbytes -= counted
        self._left.set()

    def _fits(self, nbytes: int) -> bool:
        if not self._under_way:
            return True
        return self._under_way < self._most and self._nbytes + nbytes + self._largest <= self._most_bytes
