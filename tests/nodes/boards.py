"""Boards of another architecture, emulated: how to run their programs here, or a skip that says what is missing."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest

PACKAGES = {
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-riscv64-static": "qemu-user-static",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "aarch64-linux-gnu-objdump": "binutils-aarch64-linux-gnu",
    "riscv64-linux-gnu-g++": "g++-riscv64-linux-gnu",
}


@dataclass(frozen=True, slots=True)
class Board:
    """How a program of an architecture is started here."""

    prefix: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [*self.prefix, str(program), *arguments]
        return subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=200, check=False
        )


HERE = Board((), {})


def board(machine: str, core: str) -> Board:
    """An emulated aarch64 or riscv64 with the instructions of a core, as the emulator names it."""
    needs(f"qemu-{machine}-static", f"{machine}-linux-gnu-g++")
    return Board((f"qemu-{machine}-static", "-cpu", core), {"QEMU_LD_PREFIX": f"/usr/{machine}-linux-gnu"})


def needs(*commands: str) -> None:
    for command in commands:
        if shutil.which(command) is None:
            lacking(f"apt-get install {PACKAGES[command]}")


def lacking(reason: str) -> NoReturn:
    """Skip, but fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def serving(device: Board, server: Path, *arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """An RPC server on the board: its address and process, killed at the end; its folder is gone then, if not given."""
    environment = {**os.environ, **device.environment}
    with TemporaryDirectory() as own, ExitStack() as running:
        given = arguments if "--folder" in arguments else (*arguments, "--folder", own)
        command: Sequence[str] = [*device.prefix, str(server), *given]
        process = running.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], process
        finally:
            process.kill()
