"""The system shared memory extension: regions that clients on this machine made, for tensors to be read and written in.

A region is a POSIX shared memory object under a name that its client chose. Tensors are copied by reads and writes of
its file, never through a mapping: a client that makes its object shorter meanwhile gets a refusal, and nobody a SIGBUS.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.gateway.faults import Fault, Refused, invalid

FOLDER = Path("/dev/shm")
MOST = 256  # regions; each holds a file open
MOST_BYTES = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """So many bytes from an offset of the object `key`, open as `file`."""

    name: str
    key: str
    offset: int
    nbytes: int
    file: int


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
        if len(self._regions) >= MOST:
            raise Refused(Fault.TOO_MANY, f"{MOST} shared memory regions are registered; unregister some")
        plain = key.removeprefix("/")
        if not plain or "/" in plain or "\0" in plain or plain in (".", ".."):
            raise invalid(f"shared memory key {key!r} is no name of an object")
        if not 1 <= nbytes <= MOST_BYTES or not 0 <= offset <= MOST_BYTES:
            raise invalid(f"shared memory region {name!r}: so many bytes from there on can't be")
        file = _opened(plain, offset + nbytes)
        self._regions[name] = Region(name=name, key=key, offset=offset, nbytes=nbytes, file=file)

    def unregister(self, name: str = "") -> None:
        """Let go of a region, or of all; one that is not registered is let go of already."""
        for each in [name] if name else list(self._regions):
            region = self._regions.pop(each, None)
            if region is not None:
                os.close(region.file)

    def regions(self, name: str = "") -> tuple[Region, ...]:
        """The one of that name, or all. Refused for a name that is not registered."""
        if name and name not in self._regions:
            raise Refused(Fault.NOT_FOUND, f"no shared memory region {name!r} is registered")
        return (self._regions[name],) if name else tuple(self._regions.values())

    def read(self, place: Place) -> bytes:
        """What lies there. Refused beyond the region, or where its object was made shorter."""
        region, begin = self._found(place)
        found = os.pread(region.file, place.nbytes, begin)
        if len(found) < place.nbytes:
            raise invalid(f"shared memory region {region.name!r}: its object is shorter than when it was registered")
        return found

    def write(self, place: Place, data: bytes | memoryview) -> None:
        """Put an output there. Refused where it is longer than what was set aside, or does not fit any more."""
        region, begin = self._found(place)
        if len(data) > place.nbytes:
            raise invalid(f"an output of {len(data)} bytes does not fit {place.nbytes} in region {place.region!r}")
        if os.fstat(region.file).st_size < begin + len(data):
            raise invalid(f"shared memory region {region.name!r}: its object is shorter than when it was registered")
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(region.file, view, begin)
                view, begin = view[written:], begin + written
        except OSError as error:
            raise invalid(f"shared memory region {region.name!r} can't be written: {error.strerror}") from None

    def _found(self, place: Place) -> tuple[Region, int]:
        (region,) = self.regions(place.region or " ")
        if not 0 <= place.offset <= place.offset + place.nbytes <= region.nbytes:
            said = f"bytes {place.offset} to {place.offset + place.nbytes}"
            raise invalid(f"{said} lie beyond region {place.region!r} of {region.nbytes}")
        return region, region.offset + place.offset


def _opened(key: str, least: int) -> int:
    try:
        file = os.open(FOLDER / key, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise invalid(f"shared memory object {key!r} can't be opened: {error.strerror}") from None
    size = os.fstat(file).st_size
    if size < least:
        os.close(file)
        raise invalid(f"shared memory object {key!r} has {size} bytes, {least} were said")
    return file
