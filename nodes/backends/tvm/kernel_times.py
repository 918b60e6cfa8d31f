"""Times the kernels of a session by the virtual machine's own hook, called before and after each of its instructions.

The hook costs some microseconds a kernel, so only sessions that were asked to profile have one.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any


class KernelTimes:
    """Seconds per operator, over the runs seen. `origins` are the kernels in the order of calls, each with an operator.

    A kernel that no operator is known of goes by its own name.
    """

    def __init__(self, origins: Sequence[tuple[str, str]]) -> None:
        self._operators: dict[str, list[str]] = defaultdict(list)
        for kernel, operator in origins:
            self._operators[kernel].append(operator or kernel)
        self._taken: list[tuple[str, float]] = []
        self._runs: list[Mapping[str, float]] = []
        self._started_s = 0.0

    def seen(self, _function: Any, name: str, before: bool, *_: Any) -> int:
        """The hook. What it returns lets the instruction run."""
        if before:
            self._started_s = time.perf_counter()
        elif (kernel := str(name)) in self._operators:
            self._taken.append((kernel, time.perf_counter() - self._started_s))
        return 0

    def end_of_run(self) -> None:
        """Sum up what was seen since the last."""
        calls: dict[str, int] = defaultdict(int)
        run: dict[str, float] = defaultdict(float)
        for kernel, seconds in self._taken:
            operators = self._operators[kernel]
            run[operators[min(calls[kernel], len(operators) - 1)]] += seconds
            calls[kernel] += 1
        self._taken.clear()
        self._runs.append(run)

    def medians(self) -> dict[str, float]:
        """Each operator's median over the runs."""
        names = dict.fromkeys(name for run in self._runs for name in run)
        return {name: median(run.get(name, 0.0) for run in self._runs) for name in names}
