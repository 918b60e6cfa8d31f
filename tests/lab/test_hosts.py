"""The lab itself: hosts reach each other, links are as slow as told, and nothing is left of it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.hosts import PREFIX, Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]
IDLE = """
import time
from tests.lab.hosts import Lab
with Lab('a', 'b') as lab:
    process = lab.start('a', 'sleep', '600')
    print('up', flush=True)
    process.wait()
"""
SERVER = """
import socket
server = socket.create_server(('', 7070))
print(flush=True)
client = server.accept()[0]
while client.recv(1 << 16):
    pass
"""
SENDER = """
import socket, time
s, started_s = socket.create_connection(('10.77.0.2', 7070)), time.monotonic()
s.sendall(bytes(500_000))
s.shutdown(socket.SHUT_WR)
s.recv(1)
print(time.monotonic() - started_s)
"""


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def idle(possible: None) -> Iterator["subprocess.Popen[str]"]:
    """Another process with a lab of its own that runs something."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", IDLE], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_nothing_is_left_after_ctrl_c(idle: "subprocess.Popen[str]") -> None:
    idle.send_signal(signal.SIGINT)
    idle.wait(20)
    assert f"{PREFIX}-{idle.pid}-" not in namespaces()


def test_what_a_killed_lab_left_the_next_one_clears_away(idle: "subprocess.Popen[str]") -> None:
    idle.kill()
    idle.wait(20)
    assert f"{PREFIX}-{idle.pid}-" in namespaces()
    with Lab("a"):
        assert f"{PREFIX}-{idle.pid}-" not in namespaces()


def test_tensors_go_as_fast_as_the_link_is_told_to_be(possible: None) -> None:
    with Lab("a", "b") as lab:
        lab.slow("a", "b", 4)
        with lab.start("b", "python", "-c", SERVER) as server:
            assert server.stdout is not None
            server.stdout.readline()
            assert (
                float(lab.run("a", "python", "-c", SENDER)) > 0.8
            )  # 500 KB at 500 KB/s, less what is let through first
            server.kill()
