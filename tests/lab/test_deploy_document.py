"""docs/deploy.md does what it says: every block that names a machine is run there, in order, on hosts of the lab.

Between the lab's hosts there is no SSH: stand-ins for `ssh` and `scp` do the same between the hosts' homes.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import START_TRIES, Lab
from tests.lab.journals import all_replay

pytestmark = [pytest.mark.lab, pytest.mark.slow]
DOCUMENT = Path(__file__).parents[2] / "docs" / "deploy.md"
BLOCK = re.compile(r"^```bash host=(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SSH = """#!/bin/sh
cd "$HOME/../$1" && shift && HOME=$PWD exec sh -c "$*"
"""
SCP = """#!/bin/sh
cp -p "$2" "$HOME/../${3%%:*}/${3#*:}"
"""


def blocks() -> list[tuple[str, str]]:
    """(host, commands) of each block that is to be run."""
    return BLOCK.findall(DOCUMENT.read_text())


@pytest.fixture
def machines(possible: None) -> Iterator[Lab]:
    with Lab("camera", "mec", "cloud", "board") as lab:
        for host in lab.hosts.values():
            tools = host.home / "bin"
            tools.mkdir()
            for name, text in (("ssh", SSH), ("scp", SCP)):
                (tools / name).write_text(text)
                (tools / name).chmod(0o755)
        with all_replay(*(host.home for host in lab.hosts.values())):
            yield lab


def typed(lab: Lab, host: str, commands: str) -> str:
    """What a block prints. Ray's start may take longer than Ray allows on a busy machine: it is tried again."""
    for last in range(START_TRIES):
        try:
            return lab.run(host, "bash", "-ec", commands, timeout_s=150)
        except AssertionError:
            if "ray start" not in commands or last == START_TRIES - 1:
                raise
            lab.end_all(host)
    raise AssertionError("unreachable")


def test_the_document_names_a_machine_for_every_step() -> None:
    assert {host for host, _ in blocks()} == {"camera", "mec", "cloud", "board"}


@pytest.mark.timeout(280)
def test_what_deploy_md_says_can_be_typed(machines: Lab) -> None:
    said = {number: typed(machines, host, commands) for number, (host, commands) in enumerate(blocks(), 1)}
    told = "\n".join(said.values())
    assert "found.yaml: 3 nodes, 6 links" in told
    assert "classify serves" in told
    assert "onboard serves" in told
    assert "everything is shut down" in told
    assert len(re.findall(r"float32\[1, 1000\]", told)) == 2  # both deployments answered
