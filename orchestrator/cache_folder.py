"""Where what can be made again is kept, and what tells a changed file."""

import os
from hashlib import sha256
from pathlib import Path


def cache_folder() -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/isthmus."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "isthmus"


def fingerprint(path: Path) -> list[object]:
    """Tells a changed file without reading gigabytes: the model file by content, files beside it by size and time."""
    stat = path.stat()
    content = sha256(path.read_bytes()).hexdigest() if stat.st_size < 1 << 28 else f"{stat.st_size} {stat.st_mtime_ns}"
    return [path.name, content, *([str(path), stat.st_mtime_ns] if stat.st_size < 1 << 20 else [])]
