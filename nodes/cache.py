"""What engines made and can make again (compiled models, tuned libraries, converted weights), kept on disk.

An entry is a folder named by everything it depends on. It appears whole or not at all, is made once however many
processes want it, is checked at each use and made anew if a byte changed. The folder stays below a bound: the
entries longest unused go first, never one in use.
"""

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.backend import Option
from nodes.digests import digest_of
from nodes.errors import CompileError

LIMIT_BYTES = 8 << 30
LISTING = ".listing.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """Everything that an entry depends on. `model` is a SHA-256; `engine` names the vendor's version too."""

    model: str
    engine: str
    target: str
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits: another key, another digest."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class Cache:
    """A folder of entries; any number of processes may share one."""

    def __init__(self, root: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.root = root
        self._limit_bytes = limit_bytes

    @contextmanager
    def entry(self, key: CacheKey, make: Callable[[Path], None]) -> Iterator[Path]:
        """The entry's folder, safe from eviction inside the block; `make(folder)` fills it if it is absent or damaged.

        Whatever `make` raises is raised here, and leaves nothing behind. CompileError if the disk refuses.
        """
        folder = self.root / key.digest
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / f".{key.digest}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CompileError(f"cannot keep compiled models in {self.root}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not self._whole(folder):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._whole(folder):  # another process may have made it meanwhile
                    self._fill(folder, make)
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(folder)  # what eviction goes by
            yield folder
        finally:
            os.close(lock)

    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return sum(_size(folder) for folder in self._folders())

    def _fill(self, folder: Path, make: Callable[[Path], None]) -> None:
        if folder.exists():
            _log.warning("%s is damaged and is made anew", folder)
            shutil.rmtree(folder)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
        try:
            make(new)
            files = sorted(path for path in new.rglob("*") if path.is_file())
            listing = {str(path.relative_to(new)): [_digest(path), *_stamp(path)] for path in files}
            (new / LISTING).write_text(json.dumps(listing))
            new.rename(folder)
        except OSError as error:
            raise CompileError(f"cannot keep compiled models in {self.root}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self._evict(keep=folder)

    def _whole(self, folder: Path) -> bool:
        """Whether every file is there as it was made; one that was touched since is read to see."""
        try:
            listing: dict[str, list[Any]] = json.loads((folder / LISTING).read_text())
            return all(
                _stamp(folder / name) == stamp or _digest(folder / name) == digest
                for name, (digest, *stamp) in listing.items()
            )
        except (OSError, ValueError):
            return False

    def _evict(self, *, keep: Path) -> None:
        sizes = {folder: _size(folder) for folder in self._folders()}
        surplus = sum(sizes.values()) - self._limit_bytes
        for folder in sorted(sizes, key=_used_at):
            if surplus <= 0:
                return
            if folder != keep and self._remove_unused(folder):
                surplus -= sizes[folder]

    def _remove_unused(self, folder: Path) -> bool:
        lock = os.open(self.root / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _folders(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return []


def engine_cache() -> Cache:
    """The user's own: $XDG_CACHE_HOME/isthmus/engines, bounded by $ISTHMUS_CACHE_MB (8192)."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    limit_bytes = int(os.environ.get("ISTHMUS_CACHE_MB") or LIMIT_BYTES >> 20) << 20
    return Cache(Path(home) / "isthmus" / "engines", limit_bytes=limit_bytes)


def model_digest(model: bytes | Path) -> str:
    """The SHA-256 of a model; of a file, together with the files of weights that it names."""
    if isinstance(model, bytes):
        return sha256(model).hexdigest()
    return digest_of(model, engine_cache().root / ".digests.json")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        found = sha256()
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _used_at(folder: Path) -> float:
    return folder.stat().st_mtime
