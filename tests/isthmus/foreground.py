"""The command line as a process of its own, whose descendants are known by a mark in their environment."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from tests.eventually import eventually, processes_naming

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
LOOK_S = 0.1  # between looks at every process of the machine


def environment(home: Path) -> dict[str, str]:
    """State, cache and home in a folder; our packages importable from anywhere."""
    homes = dict.fromkeys(("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), str(home))
    return os.environ | homes | {"PYTHONPATH": str(ROOT)}


class Foreground:
    """`isthmus ARGUMENTS` under way. `kin` are it and all that came of it, however detached."""

    def __init__(self, home: Path, *arguments: object) -> None:
        home.mkdir(exist_ok=True)
        self._mark = f"isthmus-test-{uuid4().hex}"
        self._shared = set(SHARED_MEMORY.iterdir())
        self.said, self.complained = home / "stdout", home / "stderr"
        with self.said.open("wb") as out, self.complained.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isthmus", *map(str, arguments)],
                env=environment(home) | {"ISTHMUS_TEST": self._mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def kin(self) -> dict[int, str]:
        """Command lines of the processes, by id."""
        return processes_naming(self._mark)

    def until_runs(self, part: str) -> None:
        """Wait until a process of it names `part` in its command line."""
        eventually(
            lambda: any(part in line for line in self.kin().values()),
            within_s=90,
            every_s=LOOK_S,
            what=f"a process of {part}",
        )

    def until_says(self, words: str) -> None:
        """Wait until it has printed these words."""
        eventually(lambda: words in self.said.read_text(), within_s=120, what=f"{words!r} on stdout")

    def end(self, number: int, *, within_s: float = 60.0) -> int:
        """Send it a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(within_s)

    def leaves_nothing(self, *, within_s: float = 15.0) -> None:
        """Nothing of it is left: no process, no shared memory."""
        eventually(lambda: not self.kin() or None, within_s=within_s, every_s=LOOK_S, what=f"the end of {self.kin()}")
        eventually(lambda: set(SHARED_MEMORY.iterdir()) <= self._shared, what="no stale shared memory")

    def kill_all(self) -> None:
        """For a test that failed: leave nothing behind."""
        for pid in self.kin():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
