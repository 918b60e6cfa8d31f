"""A pytest plugin for tests that start a Ray of their own: what its controllers wrote must replay as recorded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local_cluster import LocalCluster
from tests.lab.journals import check, journals_below


@pytest.fixture(scope="module", autouse=True)
def every_journal_replays() -> Iterator[None]:
    """Before a cluster's folder is removed its journals are decided again; faults are told once all tests are over."""
    faults, remove = list[str](), LocalCluster.remove

    def checked(cluster: LocalCluster) -> None:
        cluster.stop()
        try:
            check(journals_below([Path(cluster.folder)]))
        except AssertionError as fault:
            faults.append(str(fault))
        remove(cluster)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalCluster, "remove", checked)
        yield
    assert not faults, "\n".join(faults)
