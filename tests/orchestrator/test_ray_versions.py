"""A cluster of another Ray or Python is refused, both versions named."""

import platform

import pytest
import ray

from orchestrator.errors import VersionMismatch
from orchestrator.ray_shell import check_versions

OURS = {"ray": ray.__version__, "python": platform.python_version()}


def test_the_same_versions_pass() -> None:
    check_versions(OURS)


def test_another_patch_version_passes() -> None:
    check_versions(OURS | {"python": ".".join([*OURS["python"].split(".")[:2], "99"])})


@pytest.mark.parametrize("what", ["ray", "python"])
def test_another_minor_version_is_refused_and_both_are_named(what: str) -> None:
    with pytest.raises(VersionMismatch) as refused:
        check_versions(OURS | {what: "2.1.0"})
    assert OURS[what] in str(refused.value)
    assert "2.1.0" in str(refused.value)
