"""The system shared memory extension: regions that clients on this machine made, for tensors to be read and written in.

A region is a POSIX shared memory object under a name that its client chose. What is read is copied once, into the
stream to the first stage; nothing keeps a region open after it was unregistered.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gateway.faults import Fault, Refused, invalid

FOLDER = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """So many bytes from an offset of the object `key`."""

    name: str
    key: str
    offset: int
    nbytes: int
    held: mmap.mmap


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a tensor lies: a region's name, and bytes from an offset within it."""

    region: str
    nbytes: int
    offset: int = 0


class SharedMemory:
    """Regions by name. `is_allowed`: only clients on this machine can mean what they say."""

    def __init__(self, *, is_allowed: bool = True) -> None:
        self._is_allowed = is_allowed
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, nbytes: int) -> None:
        """Open an object. Refused for one that there is not, that is shorter than said, or a name in use."""
        if not self._is_allowed:
            raise Refused(Fault.UNSUPPORTED, "shared memory is off here: the gateway listens beyond this machine")
        if name in self._regions:
            raise invalid(f"shared memory region {name!r} is registered already; unregister it first")
        plain = key.removeprefix("/")
        if not plain or "/" in plain or plain in (".", ".."):
            raise invalid(f"shared memory key {key!r} is no name of an object")
        if nbytes < 1 or offset < 0:
            raise invalid(f"shared memory region {name!r}: {nbytes} bytes from {offset} on are none")
        self._regions[name] = Region(
            name=name, key=key, offset=offset, nbytes=nbytes, held=_opened(plain, offset + nbytes)
        )

    def unregister(self, name: str = "") -> None:
        """Let go of a region, or of all; one that is not registered is let go of already."""
        for each in [name] if name else list(self._regions):
            region = self._regions.pop(each, None)
            if region is not None:
                region.held.close()

    def regions(self, name: str = "") -> tuple[Region, ...]:
        """The one of that name, or all. Refused for a name that is not registered."""
        if name and name not in self._regions:
            raise Refused(Fault.NOT_FOUND, f"no shared memory region {name!r} is registered")
        return (self._regions[name],) if name else tuple(self._regions.values())

    def read(self, place: Place) -> bytes:
        """What lies there. Refused beyond the region."""
        region, begin = self._found(place)
        return region.held[begin : begin + place.nbytes]

    def write(self, place: Place, data: bytes | memoryview) -> None:
        """Put an output there. Refused where it is longer than what was set aside."""
        region, begin = self._found(place)
        if len(data) > place.nbytes:
            raise invalid(f"an output of {len(data)} bytes does not fit {place.nbytes} in region {place.region!r}")
        region.held[begin : begin + len(data)] = bytes(data)

    def _found(self, place: Place) -> tuple[Region, int]:
        (region,) = self.regions(place.region or " ")
        if place.offset < 0 or place.nbytes < 0 or place.offset + place.nbytes > region.nbytes:
            raise invalid(
                f"bytes {place.offset} to {place.offset + place.nbytes} lie beyond region {place.region!r} of "
                f"{region.nbytes}"
            )
        return region, region.offset + place.offset


def _opened(key: str, least: int) -> mmap.mmap:
    try:
        file = os.open(FOLDER / key, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise invalid(f"shared memory object {key!r} can't be opened: {error.strerror}") from None
    try:
        size = os.fstat(file).st_size
        if size < least:
            raise invalid(f"shared memory object {key!r} has {size} bytes, {least} were said")
        return mmap.mmap(file, least)
    finally:
        os.close(file)
