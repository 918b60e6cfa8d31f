"""Which tests run beside others: those that `make test` lists as unable to are there."""

from pathlib import Path

import pytest

from tests.conftest import ALONE

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("listed", ALONE)
def test_what_is_listed_to_run_alone_exists(listed: str) -> None:
    path, _, name = listed.partition("::")
    assert f"def {name}" in (ROOT / path).read_text()
