"""Requests to the deployment `two` under way all the time, each answer held against the layers' own."""

import time
from collections import deque
from threading import Event, Thread

import numpy as np

from orchestrator.client import Client
from tests.eventually import eventually
from tests.orchestrator.small_site import WIDE, answer_of

FEED = {"x": np.linspace(-1, 1, WIDE, dtype=np.float32)[None]}


class Callers:
    """Threads that ask one request after the other; whatever is not answered right is noted."""

    def __init__(self, client: Client, count: int, *, hidden: int) -> None:
        self.client, self.over = client, Event()
        self.took_s, self.faults = deque[float](), deque[str]()
        self._wanted = answer_of(FEED["x"], hidden=hidden)
        self.threads = [Thread(target=self._ask) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.over.is_set():
            began_s = time.monotonic()
            try:
                outputs = self.client.infer("two", FEED, timeout_s=20)
            except Exception as fault:
                self.faults.append(f"{type(fault).__name__}: {fault}")
                self.over.wait(0.1)
                continue
            self.took_s.append(time.monotonic() - began_s)
            if not np.allclose(outputs["y"], self._wanted, atol=1e-3):
                self.faults.append("a wrong answer")

    def go_on(self, more: int = 20) -> None:
        """So many more are answered, and all were answered right."""
        before = len(self.took_s)
        eventually(lambda: len(self.took_s) >= before + more, what=f"{more} more answers", within_s=30)
        assert not self.faults

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
