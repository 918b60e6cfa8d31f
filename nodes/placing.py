"""Large messages of a stream by way of shared memory: what goes there, and how a frame says where it lies.

A message is written whole, header and all, into memory that the peer reads, and a PLACED frame goes over the stream in
its stead: so order, numbers, credit and cancelling are a stream's as ever. Whatever does not fit just now takes the
socket. This file knows neither streams nor how memory is shared: shared_memory.py does that.
"""

import asyncio
import struct

from nodes.errors import MalformedFrame
from nodes.framing import Carried, Frame, Kind, decode, encode_chunks
from nodes.shared_memory import POOL_BYTES, Place, Pool, View

# There and back at a worker (`benchmarks/shared_memory.py`) messages of 64 KiB, when they went this way, took 1.05 of
# what they take over the socket, of 128 KiB 0.97; of 0.8 MB 0.6, of 6 MB 0.12. One frame more is to be packed and read,
# and bookkeeping to be done, for a few copies less.
LEAST_BYTES = 128 << 10
MOST_BYTES = POOL_BYTES // 8  # a copy takes the loop's time in one go; the parts of a message let others pass
GIVE_BACK_S = 5.0  # how often pages that were not used are given back
_PLACE = struct.Struct("<QQQ")


def charged_bytes(placed: Frame) -> int | None:
    """What a PLACED frame's sender holds against its credit, at the most; None where it names no place."""
    (said,) = placed.buffers
    return min(Place(*_PLACE.unpack(said)).nbytes, MOST_BYTES) if len(said) == _PLACE.size else None


class Placing:
    """The shared memory of one stream: `pool` for what leaves, `view` of what the peer places; None has none."""

    def __init__(self, pool: Pool | None = None, view: View | None = None) -> None:
        self._pool, self._view = pool, view
        self._give_back_at: asyncio.TimerHandle | None = None

    def carries(self, frame: Frame, nbytes: int) -> bool:
        """Whether a frame of so many tensor bytes is to go this way."""
        pool = self._pool
        if pool is None or not LEAST_BYTES <= nbytes <= MOST_BYTES or frame.header.kind is not Kind.TENSORS:
            return False
        return pool.opened

    def place(self, frame: Frame, version: int) -> Frame | None:
        """The frame that goes instead; None while there is no room."""
        if self._pool is None:
            return None
        chunks = encode_chunks(frame, Carried(version=version))
        place = self._pool.place(chunks, sum(map(len, chunks)))
        if place is None:
            return None
        self._give_back_later()
        return Frame(frame.header.naming(Kind.PLACED), (_PLACE.pack(*place),))

    def found(self, frame: Frame) -> Frame:
        """The frame that a PLACED one stands for; its buffers are views of the memory. MalformedFrame."""
        (said,) = frame.buffers
        if self._view is None or len(said) != _PLACE.size:
            raise MalformedFrame(
                f"a PLACED frame of {len(said)} bytes; {'no' if self._view is None else 'some'} memory is shared"
            )
        whole = decode(self._view.read(Place(*_PLACE.unpack(said))))
        if whole.header.kind is not Kind.TENSORS:
            raise MalformedFrame(f"a {whole.header.kind.name} frame in shared memory")
        return whole

    def _give_back_later(self) -> None:
        if self._give_back_at is None and self._pool is not None and self._pool.is_wide:
            self._give_back_at = asyncio.get_running_loop().call_later(GIVE_BACK_S, self._give_back)

    def _give_back(self) -> None:
        self._give_back_at = None
        if self._pool is not None:
            self._pool.give_back()
            self._give_back_later()

    def close(self) -> None:
        """Place nothing more; what the peer or whoever else here still reads stays as long as that."""
        if self._give_back_at is not None:
            self._give_back_at.cancel()
        if self._pool is not None:
            self._pool.close()
        self._pool = self._view = None
