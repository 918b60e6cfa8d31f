"""A worker's threads are bounded whatever the machine: what compiling left with each of them is, too."""

import asyncio
import threading
from pathlib import Path

from nodes import worker
from tests.eventually import eventually_here


def test_however_much_is_asked_at_once_it_takes_few_threads(tmp_path: Path) -> None:
    over, seen = threading.Event(), set[int]()

    def job() -> None:
        seen.add(threading.get_ident())
        over.wait(10)

    async def scenario() -> None:
        announce = tmp_path / "edge.json"
        options = worker.parse(["--node=edge", f"--state={tmp_path}", f"--announce={announce}"])
        serving = asyncio.create_task(worker._serve(options))
        await eventually_here(announce.exists)
        jobs = [asyncio.get_running_loop().run_in_executor(None, job) for _ in range(2 * worker.POOL)]
        over.set()
        await asyncio.gather(*jobs)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(scenario())
    assert len(seen) <= worker.POOL < 2 * worker.POOL
