"""Looks at processes take those that end meanwhile for what they are: gone."""

import os
import subprocess
import sys

import pytest

from tests import eventually
from tests.eventually import ENDED, Stat, processes_naming, stat_of


def ended() -> int:
    """The id of a process that was there a moment ago."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_tells_its_parent_and_one_that_has_gone_nothing() -> None:
    assert stat_of(os.getpid()) == Stat("R", os.getppid())
    assert stat_of(ended()) is None


@pytest.mark.parametrize("error", ENDED)
def test_a_process_that_ends_while_it_is_looked_at_is_not_there(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> str:
        raise error

    monkeypatch.setattr(eventually.Path, "read_text", read)
    monkeypatch.setattr(eventually.Path, "read_bytes", read)
    assert stat_of(os.getpid()) is None
    assert processes_naming("python") == {}
