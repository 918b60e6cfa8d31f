"""The command line in this process, with a home of its own; and models and specs to hand it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from isthmus.cli import main
from isthmus.verbs import cluster as _cluster  # noqa: F401 (Ray takes seconds to import: before any test)
from nodes.backend import installed_backends
from orchestrator import local_cluster

installed_backends()  # engines do too


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and what it said."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What it said on stderr, which must be one line after "isthmus: "."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("isthmus: "), self.err
        return self.err.removeprefix("isthmus: ").rstrip("\n")


Isthmus = Callable[..., Ended]


@pytest.fixture
def isthmus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Isthmus:
    """Runs `isthmus ARGUMENTS` here. A command that starts Ray fails the test: it should have refused before."""

    def no_cluster(*, tied: bool) -> None:
        raise AssertionError("a cluster was started before the fault was found")

    monkeypatch.setattr(local_cluster, "start", no_cluster)
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, told.out, told.err)

    return run
