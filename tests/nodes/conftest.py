"""What several tests of one engine need."""

from pathlib import Path

import pytest

from nodes.backend import Backend, load_backend
from nodes.errors import EngineMissing


@pytest.fixture
def tvm_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backend:
    """TVM with a cache and records of its own."""
    try:
        found = load_backend("tvm")
    except EngineMissing as error:
        pytest.skip(str(error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return found
