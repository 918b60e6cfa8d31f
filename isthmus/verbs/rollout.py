"""`isthmus rollout` and `isthmus rollback`: a new version beside the old, promoted or rolled back by figures."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from isthmus.render import rollout_line
from isthmus.terminal import note, progress, show, show_json
from isthmus.verbs.cluster import joined, token_of
from isthmus.verbs.profile import refuse_early
from orchestrator.client import Client
from orchestrator.model_file import prepare
from orchestrator.profile_file import profile_of
from orchestrator.rollout_terms import RolloutTerms
from orchestrator.spec import load_spec

LOOK_S = 1.0


def begin_rollout(
    path: Path,
    terms: RolloutTerms,
    profile_file: Path | None,
    address: str | None,
    token_file: Path | None,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Try a spec's version beside the one that runs; with `wait`, until it is promoted or rolled back.

    Returns the exit status: 1 if it was rolled back meanwhile.
    """
    spec = load_spec(path)
    profile = None if profile_file is None else profile_of(prepare(spec).sha256, profile_file, spec.model)
    refuse_early(spec, address)
    with joined(address, token_of(token_file)) as client:
        with progress(f"bringing the new version of {spec.name} up"):
            status = client.rollout(spec, terms=terms, profile=profile)
        number = int(status["rollout"]["version"]) if status["rollout"] else int(status["versions"][-1]["version"])
        if wait:
            status = _until_decided(client, spec.name, number)
    version = next(one for one in status["versions"] if one["version"] == number)
    if as_json:
        show_json({"name": spec.name, "version": version, "rollout": status["rollout"]})
    else:
        show(f"version {number} of {spec.name} is {version['state']}: {version['steps'][-1]['why']}")
    return 1 if version["state"] in ("rolled back", "refused", "failed") else 0


def _until_decided(client: Client, name: str, number: int) -> dict[str, Any]:
    while True:
        status: dict[str, Any] = client.status()["deployments"][name]
        trial = status["rollout"]
        if trial is None or trial["version"] != number:
            return status
        note(rollout_line(trial))
        threading.Event().wait(LOOK_S)


def print_history(name: str, address: str | None, *, as_json: bool) -> None:
    """A deployment's versions, each with what became of it and why."""
    with joined(address) as client:
        versions = client.rollout_history(name)
    if as_json:
        show_json(versions)
    else:
        show(history_table(versions))


def history_table(versions: Sequence[Mapping[str, Any]]) -> Table:
    """Oldest first, a row for each thing that became of a version; times in UTC."""
    table = Table("version", "at", "became", "why", box=None, pad_edge=True)
    for version in versions:
        named = f"{version['version']} ({version['spec'][:8]})"
        for position, step in enumerate(version["steps"]):
            at = datetime.fromtimestamp(step["at_s"], UTC)
            table.add_row(named if position == 0 else "", f"{at:%Y-%m-%d %H:%M:%S}", step["state"], step["why"])
        if not version["steps"]:
            table.add_row(named, "", version["state"], "")
    return table


def promote_trial(name: str, address: str | None, *, as_json: bool) -> None:
    """Have the version on trial take over now."""
    with joined(address) as client:
        status = client.promote(name)
    _say_version(name, status, as_json=as_json)


def roll_back(name: str, version: int | None, address: str | None, *, as_json: bool) -> None:
    """End the trial, or go back to an earlier version."""
    with joined(address) as client:
        status = client.rollback(name, version=version)
    _say_version(name, status, as_json=as_json)


def _say_version(name: str, status: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json({"name": name, "version": status["version"], "epoch": status["epoch"], "reason": status["reason"]})
    else:
        show(f"{name} runs version {status['version']}: {status['reason']}")
