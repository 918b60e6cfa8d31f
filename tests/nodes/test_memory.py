"""Freed memory is kept for the next message, unless that is not wanted. In processes of their own, by page faults."""

import os
import subprocess
import sys

import pytest

from nodes.memory import VARIABLE

FAULTS = """
import resource
from nodes.memory import keep_memory
kept = keep_memory()
for _ in range(3):
    bytearray(8 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(8 << 20)[::4096] = bytes(2048)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(wanted: str) -> tuple[bool, int]:
    """Whether memory is kept, and page faults of fifty times 8 MB."""
    environ = os.environ | {VARIABLE: wanted, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    told = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environ, check=True, capture_output=True, text=True, timeout=60
    )
    kept, count = map(int, told.stdout.split())
    return bool(kept), count


def test_memory_that_was_freed_costs_no_new_pages() -> None:
    kept, with_it = faults("1")
    if not kept:
        pytest.skip("the C library has no mallopt")
    given_back, without = faults("0")
    assert not given_back
    assert with_it < without / 10


SPARED = """
import gc
from nodes.memory import spare_what_is_there
kept = [[] for _ in range(100_000)]
before = len(gc.get_objects())
spare_what_is_there()
print(before, len(gc.get_objects()))
"""


def test_full_collections_look_at_nothing_that_was_there_before() -> None:
    told = subprocess.run([sys.executable, "-c", SPARED], check=True, capture_output=True, text=True, timeout=60)
    before, after = map(int, told.stdout.split())
    assert before > 100_000 > 1000 * after
