"""`isthmus worker` that cannot start says why in one line and exits 1, leaving nothing behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRON = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def worker(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "isthmus", "worker", "--node", "camera", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=ENVIRON)


@pytest.mark.slow
def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = worker("--listen", f"127.0.0.1:{port}", "--state", tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"can't listen on 127.0.0.1:{port}: the port is in use" in ended.stderr


@pytest.mark.slow
def test_others_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    ended = worker("--listen", "0.0.0.0:0", "--state", tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "0.0.0.0 lets others in; give a token with --token-file, or use 127.0.0.1" in ended.stderr


@pytest.mark.slow
def test_a_state_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = worker("--state", tmp_path / "file")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "file") in ended.stderr


@pytest.mark.slow
def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    ended = worker("--state", tmp_path, "--token-file", tmp_path / "token")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"token file {tmp_path / 'token'} is empty" in ended.stderr


@pytest.mark.slow
def test_usage_that_makes_no_sense_exits_2(tmp_path: Path) -> None:
    assert worker("--state", tmp_path, "--no-such-option").returncode == 2
