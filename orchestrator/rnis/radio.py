"""The radio links of all deployments, each followed for as long as a topology names it.

It starts and ends what source.py does, in the event loop of whoever calls it, and keeps what is wrong for a status.
"""

import asyncio
from collections.abc import Callable, Iterable

from orchestrator.network import Observation
from orchestrator.rnis.messages import RnisError
from orchestrator.rnis.source import RadioLink, follow
from partitioner.topology import Topology


def radio_links(topology: Topology) -> tuple[RadioLink, ...]:
    """The links of which a topology says who knows their radio."""
    return tuple(
        RadioLink(
            source=link.source, target=link.target, url=link.rnis[0], ue=link.rnis[1], propagation_s=link.propagation_s
        )
        for link in topology.links
        if link.rnis is not None
    )


class Radio:
    """Tells `heard` what the radio network sees of the links that are watched."""

    def __init__(self, heard: Callable[[Observation], None]) -> None:
        self._heard = heard
        self._tasks: dict[RadioLink, asyncio.Task[None]] = {}
        self._faults: dict[RadioLink, str] = {}

    def watch(self, links: Iterable[RadioLink]) -> None:
        """Follow these links and no others; needs a running loop. Those that are followed already go on."""
        wanted = tuple(dict.fromkeys(links))
        for link in [link for link in self._tasks if link not in wanted]:
            self._tasks.pop(link).cancel()
            self._faults.pop(link, None)
        for link in wanted:
            if link not in self._tasks:
                self._tasks[link] = asyncio.create_task(self._follow(link), name=f"rnis {link.source}")

    def faults(self) -> tuple[str, ...]:
        """Why of some link nothing is known, one line each."""
        return tuple(self._faults.values())

    async def close(self) -> None:
        """Follow nothing any more; subscriptions are cancelled where the service can be reached."""
        tasks = list(self._tasks.values())
        self.watch(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, link: RadioLink) -> None:
        def fault(told: str | None) -> None:
            if told is None:
                self._faults.pop(link, None)
            elif link in self._tasks:
                self._faults[link] = told

        try:
            await follow(link, self._heard, fault)
        except (RnisError, OSError) as error:  # nothing that waiting mends: it is shown until the topology changes
            fault(str(error))
