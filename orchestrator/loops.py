"""The end of an event loop's work."""

import asyncio


async def end_tasks() -> None:
    """Cancel whatever still runs in this loop; again, as a wait that has just ended swallows the first word of it."""
    for _ in range(3):
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=1.0)
