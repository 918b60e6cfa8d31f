"""Blueprints on disk, beside the journal: what a controller that comes after this one needs to plan again.

The journal says which version runs; this says what was asked for it, what was measured and which model it is. Of each
deployment the newest KEPT versions are kept, so that a version can be gone back to.
"""

import json
import os
from hashlib import sha256
from pathlib import Path

from orchestrator.blueprint import Blueprint
from orchestrator.errors import JournalError
from orchestrator.model_file import read_model
from orchestrator.plain import read_as, to_plain
from orchestrator.profile_file import profile_from_json, profile_to_json
from orchestrator.spec import DeploymentSpec
from partitioner.plan import Plan
from partitioner.profile import EngineKey

KEPT = 8


def version_digest(blueprint: Blueprint) -> str:
    """Tells a version of a pipeline from another: its models, its plan or the terms for one, its policies."""
    return sha256(f"{blueprint.digest} {blueprint.model.sha256}".encode()).hexdigest()


class BlueprintFiles:
    """One JSON file a version in `folder`. The model stays where it is; only its path is noted."""

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
        path = self._path(blueprint.spec.name, version_digest(blueprint))
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(plain))
            os.replace(fresh, path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise JournalError(f"{path}: {error.strerror}; what runs goes on, nothing was changed") from None

        for old in self._of(blueprint.spec.name)[:-KEPT]:
            old.unlink(missing_ok=True)

    def forget(self, name: str) -> None:
        """The deployment is gone."""
        for path in (*self._of(name), self._folder / f"{name}.json"):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """All deployments are gone."""
        for path in self._folder.iterdir():
            path.unlink()

    def read(self, name: str, version: str) -> Blueprint:
        """A version's blueprint, its model read again. JournalError if that, or the file, is gone or unreadable."""
        path = self._path(name, version)
        if not path.exists() and (only := self._folder / f"{name}.json").exists():
            path = only  # of an earlier isthmus, which kept the newest alone
        try:
            plain = json.loads(path.read_text())
            spec: DeploymentSpec = read_as(DeploymentSpec, plain["spec"])
            model = read_model(spec, Path(plain["model"]))
        except Exception as error:
            raise JournalError(f"{path}: {type(error).__name__}: {error}; deploy {name} again") from None
        engines = {node: tuple(read_as(EngineKey, key) for key in keys) for node, keys in plain["engines"].items()}
        fixed: Plan | None = None if plain["fixed"] is None else read_as(Plan, plain["fixed"])
        profile = profile_from_json(plain["profile"])
        return Blueprint(spec=spec, model=model, profile=profile, engines=engines, fixed=fixed)

    def _path(self, name: str, version: str) -> Path:
        return self._folder / f"{name}@{version[:32]}.json"

    def _of(self, name: str) -> list[Path]:
        """All that is kept of a deployment, oldest first."""
        return sorted(self._folder.glob(f"{name}@*.json"), key=lambda path: path.stat().st_mtime)
