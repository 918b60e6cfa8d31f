"""Blueprints on disk, beside the journal: what a controller that comes after this one needs to plan again.

The journal says what runs; this says what was asked, what was measured and which model it is. Of each deployment the
newest and the one before it are kept, so that a change that is refused leaves the earlier one in force.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.blueprint import Blueprint
from orchestrator.errors import JournalError
from orchestrator.plain import read_as, to_plain
from orchestrator.profile_file import profile_from_json, profile_to_json
from orchestrator.spec import DeploymentSpec
from partitioner.load import load
from partitioner.plan import Plan
from partitioner.profile import EngineKey


class BlueprintFiles:
    """One JSON file a deployment in `folder`. The model stays where it is; only its path is noted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, blueprint: Blueprint, model: Path) -> None:
        """Keep this as the newest; JournalError if the disk refuses."""
        plain = {
            "spec": to_plain(blueprint.spec),
            "model": str(model.resolve()),
            "profile": profile_to_json(blueprint.profile),
            "engines": {node: [to_plain(key) for key in keys] for node, keys in blueprint.engines.items()},
            "fixed": None if blueprint.fixed is None else to_plain(blueprint.fixed),
        }
        path = self._path(blueprint.spec.name)
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(plain))
            if path.exists():
                os.replace(path, path.with_suffix(".before"))
            os.replace(fresh, path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise JournalError(f"{path}: {error.strerror}; what runs goes on, nothing was changed") from None

    def restore(self, name: str) -> None:
        """The newest was refused: the one before it is in force again, if there was one."""
        before = self._path(name).with_suffix(".before")
        if before.exists():
            os.replace(before, self._path(name))
        else:
            self._path(name).unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """The deployment is gone."""
        for path in (self._path(name), self._path(name).with_suffix(".before")):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """All deployments are gone."""
        for path in self._folder.iterdir():
            path.unlink()

    def names(self) -> Iterator[str]:
        """Deployments that are kept."""
        return (path.stem for path in sorted(self._folder.glob("*.json")))

    def read(self, name: str) -> Blueprint:
        """A deployment's blueprint, its model read again. JournalError if that, or the file, is gone or unreadable."""
        path = self._path(name)
        try:
            plain = json.loads(path.read_text())
            model = load(Path(plain["model"]))
        except Exception as error:
            raise JournalError(f"{path}: {type(error).__name__}: {error}; deploy {name} again") from None
        spec: DeploymentSpec = read_as(DeploymentSpec, plain["spec"])
        engines = {node: tuple(read_as(EngineKey, key) for key in keys) for node, keys in plain["engines"].items()}
        fixed: Plan | None = None if plain["fixed"] is None else read_as(Plan, plain["fixed"])
        profile = profile_from_json(plain["profile"])
        return Blueprint(spec=spec, model=model, profile=profile, engines=engines, fixed=fixed)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
