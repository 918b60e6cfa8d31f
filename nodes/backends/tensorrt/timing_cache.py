"""What kernels took on a GPU in earlier builds, kept in a file so that the next build measures only what is new."""

import os
from pathlib import Path
from typing import Any

from nodes.backends.tensorrt.flavour import Vendor


def open_timing_cache(vendor: Vendor, config: Any, path: Path | None) -> Any:
    """The file's cache, given to a builder's configuration; None where the flavour measures nothing.

    One that the vendor refuses, as it does another driver's or a damaged one, is begun anew.
    """
    if path is None or not vendor.api.timing_cache:
        return None
    for content in (path.read_bytes() if path.exists() else b"", b""):
        measured = config.create_timing_cache(content)
        if measured is not None and config.set_timing_cache(measured, ignore_mismatch=False):
            return measured
    return None


def keep_timing_cache(path: Path, measured: Any) -> None:
    """Write what is known now; the file is always whole, whoever writes it at the same moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(bytes(measured.serialize()))
    new.rename(path)
