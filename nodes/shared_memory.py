"""Memory that two processes of one user on one host share, for one direction of one stream.

The sender owns it and writes messages into regions of it (a Pool); the receiver reads them where they lie (a View).
A region is free again once nothing of the receiver's refers to its bytes any more, whoever kept them and for how long:
a finalizer then clears the region's mark, which lies in the memory, too. So nothing is said over the stream, and
nothing has to be remembered when a request is cancelled or lost.

The memory has no name: the receiver opens it through /proc, which the kernel allows to the same user alone, so that
nothing is left behind however either side ends. It is sealed: a sender that makes it smaller would have its reader
killed. Anything that is not as it should be means no View, and is no error: messages take the socket then.
"""

import fcntl
import mmap
import os
import secrets
import stat
import sys
import weakref
from collections.abc import Iterable
from contextlib import suppress
from hmac import compare_digest
from typing import NamedTuple

import numpy as np

from nodes.errors import MalformedFrame
from nodes.regions import PIECE_BYTES, Regions

VARIABLE = "ISTHMUS_SHARED_MEMORY"
KEPT_BYTES = 8 << 20  # at the beginning, whose pages stay
POOL_BYTES = 64 << 20  # as much as credit lets a peer have under way; untouched pages take no memory
NAME = "isthmus"
_MOST_BYTES = 1 << 30  # that a peer's memory may have
_CONTROL_BYTES = mmap.ALLOCATIONGRANULARITY  # ahead of the regions
_NONCE = slice(0, 16)
_OPENED = 16  # the receiver sets this byte once it reads
_MARKS = 64  # one byte a region from here on: 1 from when a message was placed until its receiver needs it no more
SLOTS = 4096 - _MARKS  # page sizes differ, the layout doesn't
_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")
_LAYOUT = "1"


class Place(NamedTuple):
    """Where a message lies: a region, how much of it, and the number of its mark."""

    offset: int
    nbytes: int
    slot: int


def wanted() -> bool:
    """Whether this machine has such memory, and nobody said not to use it."""
    return os.environ.get(VARIABLE) != "0" and hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


class Pool:
    """The sender's side. Belongs to one thread."""

    def __init__(self, capacity_bytes: int = POOL_BYTES) -> None:
        """OSError where the kernel gives none."""
        self._regions = Regions(capacity_bytes)
        self._slots = list(range(SLOTS))[::-1]
        self._used: dict[int, int] = {}  # slot → offset
        nonce = secrets.token_bytes(_NONCE.stop)
        fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._close = weakref.finalize(self, os.close, fd)
        os.fchmod(fd, 0o600)
        os.ftruncate(fd, _CONTROL_BYTES + capacity_bytes)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
        self._memory = _mapped(fd, _CONTROL_BYTES + capacity_bytes)
        self._touched_bytes = 0  # of the regions, those with pages
        whole = memoryview(self._memory)
        self._control, self._data = whole[:_CONTROL_BYTES], whole[_CONTROL_BYTES:]
        self._control[_NONCE] = nonce
        self.offer = f"{_LAYOUT}:{os.getpid()}:{fd}:{nonce.hex()}"

    @property
    def opened(self) -> bool:
        """Whether the peer reads it."""
        if not self._control[_OPENED]:
            return False
        self.close()
        return True

    @property
    def used_bytes(self) -> int:
        """Bytes of regions whose receiver has them still."""
        self._sweep()
        return self._regions.taken_bytes

    def place(self, chunks: Iterable[bytes | bytearray | memoryview], nbytes: int) -> Place | None:
        """Write `nbytes` in chunks into a region; None while there is no room for them."""
        self._sweep()
        offset = self._regions.take(nbytes) if self._slots else None
        if offset is None:
            return None
        at = offset
        for chunk in chunks:
            end = at + len(chunk)
            self._data[at:end] = chunk
            at = end
        slot = self._slots.pop()
        self._used[slot] = offset
        self._control[_MARKS + slot] = 1
        return Place(offset, nbytes, slot)

    @property
    def is_wide(self) -> bool:
        """Whether there may be something to `give_back`."""
        return max(self._touched_bytes, self._regions.reached_bytes) > KEPT_BYTES

    def give_back(self) -> None:
        """Let the kernel have the pages, beyond the first, in which nothing has lain since the last call.

        Memory that is in use again and again is kept: a page that is touched anew costs a fault.
        """
        self._sweep()
        reached_bytes = max(self._regions.reached_bytes, KEPT_BYTES)
        begin = -(-reached_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if begin < self._touched_bytes and hasattr(mmap, "MADV_REMOVE"):
            with suppress(OSError):  # it stays, then
                self._memory.madvise(mmap.MADV_REMOVE, _CONTROL_BYTES + begin, self._touched_bytes - begin)
        self._touched_bytes = reached_bytes
        self._regions.look_anew()

    def _sweep(self) -> None:
        control = self._control
        for slot in [slot for slot in self._used if not control[_MARKS + slot]]:
            self._regions.give(self._used.pop(slot))
            self._slots.append(slot)

    def close(self) -> None:
        """The number that was offered opens it no more; what the peer reads is there for as long as the peer has it.

        Before Python 3.13 a mapping keeps a file descriptor of its own, by which this user can open it until it ends.
        """
        self._close()


class View:
    """The receiver's side; regions may be let go of in any thread."""

    def __init__(self, fd: int, nbytes: int) -> None:
        """Of an open, sealed file of so many bytes; OSError or ValueError where it can't be mapped."""
        self.capacity_bytes = nbytes - _CONTROL_BYTES
        self._control = _mapped(fd, _CONTROL_BYTES)
        self._data = _mapped(fd, self.capacity_bytes, _CONTROL_BYTES, mmap.ACCESS_READ)
        self._held: dict[int, int] = {}  # slot → bytes, of regions that something here refers to
        self._pid = os.getpid()

    def has(self, nonce: bytes) -> bool:
        """Whether this is the memory that was offered."""
        return compare_digest(self._control[_NONCE], nonce)

    def open(self) -> None:
        """Tell the sender that it may use it."""
        self._control[_OPENED] = 1

    def read(self, place: Place) -> memoryview | bytes:
        """The bytes there, in place; a copy once half of the memory is held by those who keep what they were given.

        MalformedFrame for a place that is not in this memory.
        """
        offset, nbytes, slot = place
        if offset % PIECE_BYTES or not 0 < nbytes <= self.capacity_bytes - offset or slot >= SLOTS:
            raise MalformedFrame(
                f"a message at {offset}, of {nbytes} bytes, number {slot}, is not within the {self.capacity_bytes} "
                f"bytes that are shared"
            )
        if sum(list(self._held.values())) + nbytes > self.capacity_bytes // 2:
            copy = self._data[offset : offset + nbytes]
            self._free(slot)
            return copy
        region = np.frombuffer(self._data, np.uint8, nbytes, offset)
        self._held[slot] = nbytes
        weakref.finalize(region, self._free, slot).atexit = False
        return region.data  # whose slices, and arrays of them, all keep `region` alive

    @property
    def held_bytes(self) -> int:
        """Bytes that something here refers to."""
        return sum(list(self._held.values()))  # the list in one step: other threads let go

    def _free(self, slot: int) -> None:
        if os.getpid() == self._pid:  # a forked child lets go of its own copies only
            self._held.pop(slot, None)
            self._control[_MARKS + slot] = 0


def opened(offer: str) -> View | None:
    """What a peer offered, if it is that peer's, on this host, this user's and sealed; None without a word else."""
    layout, _, about = offer.partition(":")
    if layout != _LAYOUT or not wanted():
        return None
    with suppress(OSError, ValueError):
        pid, fd, nonce = about.split(":")
        path, known = f"/proc/{int(pid)}/fd/{int(fd)}", bytes.fromhex(nonce)  # nothing is open yet when these raise
        if not os.readlink(path).startswith(f"/memfd:{NAME}"):  # opening might do something, were it anything else
            return None
        return _opened(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK), known)
    return None


def _opened(fd: int, nonce: bytes) -> View | None:
    try:
        about = os.fstat(fd)
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() == _seals()
        large = _CONTROL_BYTES + PIECE_BYTES <= about.st_size <= _MOST_BYTES
        if not (sealed and large and stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()):
            return None
        view = View(fd, about.st_size)
    finally:
        os.close(fd)
    if not view.has(nonce):
        return None
    view.open()
    return view


def _mapped(fd: int, nbytes: int, offset: int = 0, access: int = mmap.ACCESS_DEFAULT) -> mmap.mmap:
    """With no file descriptor of its own, where Python can do without."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, nbytes, access=access, offset=offset, trackfd=False)
    return mmap.mmap(fd, nbytes, access=access, offset=offset)


def _seals() -> int:
    found = 0
    for name in _SEALS:
        found |= getattr(fcntl, name)
    return found
