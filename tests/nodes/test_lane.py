"""The thread that a stage computes in."""

import asyncio
import weakref

import numpy as np

from nodes.backend import Array
from nodes.lane import Lane


def test_an_idle_lane_holds_nothing_of_the_job_before() -> None:
    async def scenario() -> None:
        lane: Lane[Array] = Lane("idle", may_inline=False)
        held, answer = np.zeros(8), asyncio.Event()
        given, made = weakref.ref(held), list[weakref.ref[Array]]()

        def done(result: Array) -> None:
            made.append(weakref.ref(result))
            answer.set()

        lane.submit(lambda held=held: held + 1, done)  # type: ignore[misc]
        del held
        await answer.wait()
        while given() is not None or made[0]() is not None:
            await asyncio.sleep(0.001)
        lane.close()
        assert lane.join(5.0)

    asyncio.run(asyncio.wait_for(scenario(), 5.0))
