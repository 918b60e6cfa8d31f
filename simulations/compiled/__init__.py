"""The simulator's compiled parts. Numba looks at a function's own file to tell whether what it kept is out of date,
not at the files of those it calls; so what was kept is forgotten here once any file of this folder is newer.
"""

from pathlib import Path

KEPT = ("*.nbi", "*.nbc")


def forget_stale(folder: Path) -> bool:
    """Remove what was compiled from sources that have changed since; whether anything was."""
    cache = folder / "__pycache__"
    kept = [path for kind in KEPT for path in cache.glob(kind)]
    newest_s = max(path.stat().st_mtime for path in folder.glob("*.py"))
    try:
        oldest_s = min((path.stat().st_mtime for path in kept), default=newest_s)
    except FileNotFoundError:  # another process is at it
        return True
    if oldest_s >= newest_s:
        return False
    for path in kept:
        path.unlink(missing_ok=True)
    return True


forget_stale(Path(__file__).parent)
