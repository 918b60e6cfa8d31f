"""A gateway over a model that answers at once."""

from collections.abc import Iterator

import pytest

from tests.orchestrator.gateway.served import Served


@pytest.fixture(scope="module")
def held() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


@pytest.fixture
def served(held: Served) -> Served:
    """As when it was opened, but for what was counted."""
    held.echo.raises, held.echo.is_up = None, True
    held.echo.asked.clear()
    held.echo.cancelled = 0
    return held
