"""A fleet without Ray: this process is the agent of its own host, and the workers end with it.

For measuring and planning on one machine, where a control plane would only take its time to start.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from nodes.store import Store
from orchestrator.agent import Agent
from orchestrator.blueprint import Blueprint
from orchestrator.fleet import AgentHandle, Fleet
from orchestrator.model_file import prepare
from orchestrator.samples import load_samples
from orchestrator.spec import DeploymentSpec
from orchestrator.workshop import Workshop
from partitioner.topology import Node


class OwnAgent:
    """The one host's agent, in this process."""

    host, shares_disk = "here", True

    def __init__(self, folder: Path) -> None:
        self._agent = Agent(
            folder=folder, host="127.0.0.1", controller="own", secret=token_hex(16), token=None, tell=_ignore
        )

    async def run(self, method: str, *args: Any, **options: Any) -> Any:
        """A method of `Agent` by name."""
        return await getattr(self._agent, method)(*args, **options)


@asynccontextmanager
async def own_fleet() -> AsyncIterator[tuple[Fleet, Path]]:
    """A fleet of workers on this machine and a folder for what it makes; both are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="isthmus-own-"))
    agent = OwnAgent(folder / "workers")

    async def find_agent(_node: Node) -> AgentHandle:
        return agent

    fleet = Fleet(find_agent, emulated=True)
    try:
        yield fleet, folder
    finally:
        await fleet.stop()
        await agent.run("stop")
        shutil.rmtree(folder, ignore_errors=True)


async def _ignore(_node: str, _event: Mapping[str, Any]) -> None:
    """Nobody re-plans here."""


async def blueprint_here(
    spec: DeploymentSpec,
    say: Callable[[str], None],
    *,
    segments: int = 0,
    batches: tuple[int, ...] = (),
    tune_s: float = 0.0,
    tuner: str = "learned",
) -> Blueprint:
    """A spec's blueprint, measured on this machine's own workers, which stand for the topology's nodes.

    `segments`: how many are to be known of each engine, for its cost model, beside those that plans use. `batches`:
    rows at once for which the whole model is timed. `tune_s`: seconds to tune engines for, before, by what `tuner`
    proposes; batches are then chosen too.
    """
    ready = prepare(spec)
    samples = load_samples({e.name: e.samples for e in spec.inputs if e.samples is not None}, ready.inputs)
    async with own_fleet() as (fleet, folder):
        workshop = Workshop(fleet, Store(folder / "artifacts"), say)
        found = await workshop.blueprint(spec, ready.path, samples, tune_s=tune_s, tuner=tuner)
        found = await workshop.learn(found, ready.path, samples, segments) if segments else found
        return await workshop.batch_curves(found, ready.path, batches, choose=tune_s > 0)
