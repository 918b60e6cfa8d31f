"""A repository that is a folder of specs: what clients may load and unload by the model repository extension."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.bond import Bond
from orchestrator.errors import SpecError
from orchestrator.handing_over import handed_over
from orchestrator.spec import load_spec
from orchestrator.yaml_file import read_yaml

Settled = Callable[[str], Awaitable[None]]


class SpecFolder:
    """As repository.Deployer. Specs are read when they are asked for, so they may come, change and go."""

    def __init__(self, folder: Path, bond: Bond, served: Settled, gone: Settled) -> None:
        """`served` and `gone` come back once this gateway has seen it."""
        self._folder, self._bond, self._served, self._gone = folder, bond, served, gone
        self._threads = ThreadPoolExecutor(1, "repository")  # its own: what waits here must hold up nothing else

    def specs(self) -> tuple[str, ...]:
        """As Deployer."""
        return tuple(self._paths())

    async def deploy(self, name: str) -> None:
        """As Deployer. SpecError, InvalidModel, DeploymentFailed or ClusterError."""
        path = self._paths().get(name)
        if path is None:
            raise SpecError(f"{self._folder}: the spec of {name!r} is gone")
        await asyncio.get_running_loop().run_in_executor(self._threads, self._deploy, path)
        await self._served(name)

    async def delete(self, name: str) -> None:
        """As Deployer."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._bond.ask, "delete", name)
        await self._gone(name)

    def _deploy(self, path: Path) -> None:
        spec = load_spec(path)
        self._bond.ask("deploy", spec, *handed_over(self._bond, spec), None, None)

    def _paths(self) -> dict[str, Path]:
        """Each spec's file by its deployment's name; files that are no specs are left out."""
        found: dict[str, Path] = {}
        for path in sorted(self._folder.glob("*.y*ml")):
            try:
                name = read_yaml(path).get("name")
            except SpecError:
                continue
            if isinstance(name, str):
                found.setdefault(name, path)
        return found
