"""Keeps freed memory in the process, so that a message's buffers need no new pages.

By default glibc gives the top of its heap back as soon as a few megabytes are free; a process that allocates and
frees a tensor per message then pays a page fault for every 4 KB of it (0.7 ms a megabyte was seen). Process-wide,
therefore called by processes that are ours; without glibc, or with ISTHMUS_KEEP_MEMORY=0, it does nothing.
benchmarks/streams.py tells what it is worth.
"""

import ctypes
import gc
import os

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # mallopt's names, from malloc.h
VARIABLE = "ISTHMUS_KEEP_MEMORY"
KEPT_BYTES = 256 << 20
LARGEST_BYTES = 32 << 20  # glibc's own maximum; larger blocks are mapped and unmapped each time


def keep_memory() -> bool:
    """Keep up to 256 MB of freed memory; whether that is wanted, and the C library understood."""
    if os.environ.get(VARIABLE) == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((TRIM_THRESHOLD, KEPT_BYTES), (MMAP_THRESHOLD, LARGEST_BYTES), (TOP_PAD, 16 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])


def spare_what_is_there() -> None:
    """Have Python's garbage collector leave alone what there is by now: for a process that has begun, and stays.

    A full collection looks at every object that it may collect, modules' functions and classes included, while nothing
    else runs: 80 ms were seen in a gateway. What is there once it serves stays there, so there is nothing to find.
    """
    gc.collect()
    gc.freeze()
