"""One local cluster for all tests that need one, kept as `isthmus deploy` keeps it, with a home of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import local_cluster
from orchestrator.client import Client
from tests.eventually import eventually, processes_naming


@pytest.fixture(scope="session")
def cluster_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """HOME, state and cache of the commands and clients that use the shared cluster."""
    home = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    os.environ.update(dict.fromkeys(before, str(home)))
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def shared_client(cluster_home: Path) -> Iterator[Client]:
    """A client of the shared cluster. When the tests are over nothing of it may be left."""
    client = Client(keep=True)
    cluster = local_cluster.remembered()
    assert cluster is not None
    try:
        yield client
        client.shutdown()
        eventually(lambda: not processes_naming(cluster.folder) or None, what="the end of every process")
        assert not Path(cluster.folder).exists()
        assert local_cluster.remembered() is None
    finally:
        cluster.remove()
