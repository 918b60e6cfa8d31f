"""What an engine takes of the machine, found without a list of engines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.cache import LISTING, Cache, CacheKey
from nodes.selecting import footprint

TOUCH = """
import numpy as np
from nodes.selecting import footprint
footprint.forget_peak()
before = footprint.resident_bytes()
held = np.ones(40_000_000, np.uint8)
print(footprint.peak_bytes() - before)
"""


def test_memory_that_is_touched_shows_in_the_peak() -> None:
    """In a process of its own, as engines are measured: not every kernel forgets the peak of one that was large."""
    told = subprocess.run([sys.executable, "-c", TOUCH], capture_output=True, text=True, check=True, timeout=60)
    assert 30_000_000 < int(told.stdout) < 80_000_000


def test_distributions_are_found_by_what_was_imported() -> None:
    assert footprint.distributions_of(["onnxruntime.capi._pybind_state", "json", "numpy"], []) == ("onnxruntime",)


def test_a_mapped_library_tells_its_distribution() -> None:
    import onnxruntime

    library = next(Path(onnxruntime.__file__).parent.rglob("*.so*"))
    assert footprint.distributions_of([], [library, Path("/usr/lib/libc.so.6")]) == ("onnxruntime",)


def test_installed_bytes_are_those_of_the_files() -> None:
    import onnxruntime

    largest = max(path.stat().st_size for path in Path(onnxruntime.__file__).parent.rglob("*.so*"))
    assert largest < footprint.install_bytes(["onnxruntime"]) < 100 * largest


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (["cp311-cp311-manylinux_2_27_x86_64", "cp311-cp311-manylinux_2_28_x86_64"], ["glibc ≥ 2.28, x86_64"]),
        (["py3-none-manylinux2014_aarch64"], ["glibc ≥ 2.17, aarch64"]),
        (["py3-none-any"], []),
    ],
)
def test_a_wheels_tags_tell_what_it_needs(tags: list[str], told: list[str]) -> None:
    assert footprint._platforms(tags) == told


def test_the_newest_cuda_asks_for_the_newest_driver() -> None:
    assert footprint._drivers(["nvidia-cudnn-cu12", "tensorrt-cu13"]) == ["NVIDIA driver ≥ 580"]
    assert footprint._drivers(["onnxruntime"]) == []


def test_compiled_entries_are_new_or_from_the_cache(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path), CacheKey(model="m", engine="e", target="t")
    before = footprint.compiled(cache)

    def make(folder: Path) -> None:
        (folder / "lib.so").write_bytes(b"12345")

    with cache.entry(key, make):
        made = footprint.compiled(cache)
    listing = (tmp_path / key.digest / LISTING).stat().st_size
    assert footprint.used_since(before, made) == (5 + listing, False)
    assert footprint.used_since(made, made) == (0, False)
    os.utime(tmp_path / key.digest, (1, 1))
    assert footprint.used_since(made, footprint.compiled(cache)) == (5 + listing, True)
    (tmp_path / key.digest / "lib.so").write_bytes(b"damaged")
    with cache.entry(key, make):
        assert footprint.used_since(made, footprint.compiled(cache)) == (5 + listing, False)
