"""What tests of routers share: real workers, everything but Ray."""

from collections.abc import Iterator

import pytest

from orchestrator.router import Router
from tests.orchestrator.worker_site import WorkerSite


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerSite]:
    """Workers for camera and cloud, brought up when first needed."""
    held = WorkerSite(tmp_path_factory.mktemp("site"))
    yield held
    held.close()


@pytest.fixture
def router(workers: WorkerSite) -> Iterator[Router]:
    """A router in the workers' event loop, without a deployment."""

    async def made() -> Router:
        return Router(on_drained=lambda _name, _epoch: None)

    held = workers.do(made())
    yield held
    workers.do(held.close())
