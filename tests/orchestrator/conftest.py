"""What tests of routers share: real workers, everything but Ray."""

from collections.abc import Iterator

import pytest

from tests.orchestrator.worker_site import WorkerSite


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerSite]:
    """Workers for camera and cloud, brought up when first needed."""
    held = WorkerSite(tmp_path_factory.mktemp("site"))
    yield held
    held.close()
