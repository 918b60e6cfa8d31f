"""A grid of scenarios from one: keys of its YAML, as paths in the file, each with the values to try.

    expand(data, ["users[0].count=10,20,40", "policy.kind=adaptive,edge"])

gives six. Works on what YAML holds and knows which keys a scenario can have; whether a value may stand there is said by
parse_scenario. Nothing is run here.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from orchestrator.errors import SpecError
from simulations.scenario_models import ScenarioModel

MOST = 10_000  # points of a grid
_PART = re.compile(r"(?:^|\.)([A-Za-z_][\w-]*)|\[(\d+)\]")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One of the grid: what was tried, such as {"users[0].count": 10}, and the whole of its YAML."""

    values: Mapping[str, Any]
    data: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Such as "users[0].count=10, policy.kind=edge"."""
        return ", ".join(f"{key}={_told(value)}" for key, value in self.values.items())


def expand(data: Mapping[str, Any], sweeps: Sequence[str]) -> tuple[Point, ...]:
    """Every combination, the last key's values turning fastest. SpecError in one line for a key or value amiss."""
    axes: dict[str, tuple[Path, list[Any]]] = {}
    for sweep in sweeps:
        key, _, given = sweep.partition("=")
        key = key.strip()
        if not key or not given.strip():
            raise SpecError(f"--sweep {sweep}: should be KEY=VALUE,VALUE, such as users[0].count=10,20")
        if key in axes:
            raise SpecError(f"--sweep {sweep}: {key} is given twice; give all its values once")
        axes[key] = _path(key, sweep, data), _values(given, sweep)
    count = prod(len(values) for _, values in axes.values())
    if count > MOST:
        raise SpecError(f"--sweep: {count:,} scenarios are more than {MOST:,}; give fewer values")
    points: list[Point] = []
    for chosen in product(*(values for _, values in axes.values())):
        filled = deepcopy(dict(data))
        for (path, _), value in zip(axes.values(), chosen, strict=True):
            _put(filled, path, deepcopy(value))
        points.append(Point(values=dict(zip(axes, chosen, strict=True)), data=filled))
    return tuple(points)


def _path(key: str, sweep: str, data: Any) -> Path:
    """The parts of a dotted path, each of which a scenario can have, and each entry of a list of which is there."""
    parts: list[str | int] = []
    at, model = 0, ScenarioModel
    here: Any = data
    kind: Any = model
    while at < len(key):
        found = _PART.match(key, at)
        if found is None:
            raise SpecError(f"--sweep {sweep}: {key[at:]!r} is no key; write it as users[0].asking.per_s")
        part: str | int = found[1] if found[2] is None else int(found[2])
        said = key[:at] or "the scenario"
        if isinstance(part, int):
            if not isinstance(here, list) or part >= len(here):
                held = f"{len(here)} entries, the first is [0]" if isinstance(here, list) else "no entries"
                raise SpecError(f"--sweep {sweep}: {said} has {held}")
            here = here[part]
        else:
            if isinstance(here, list):
                raise SpecError(f"--sweep {sweep}: {said} is a list: which entry? write {said}[0].{part}")
            kind = _within(kind, part, here, f"--sweep {sweep}: {said}")
            here = here.get(part) if isinstance(here, dict) else None
        parts.append(part)
        at = found.end()
    return tuple(parts)


def _within(kind: Any, key: str, here: Any, said: str) -> Any:
    """What stands behind a key: a model, or None where anything may stand. SpecError for a key that can't be."""
    if kind is None:
        if not isinstance(here, dict):
            raise SpecError(f"{said} is {_told(here)} and has no key {key!r}")
        return None
    fields = {field.alias or name: field for name, field in kind.model_fields.items()}
    if key not in fields:
        near = get_close_matches(key, fields, n=3)
        raise SpecError(f"{said} has no key {key!r}; there are {', '.join(dict.fromkeys([*near, *fields]))}")
    return _model_of(fields[key].annotation)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, in a list or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for each in get_args(annotation) if (model := _model_of(each)) is not None), None)


def _values(given: str, sweep: str) -> list[Any]:
    """Values between commas, each as YAML reads it; commas within brackets part nothing."""
    try:
        values = yaml.safe_load(f"[{given}]")
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or None in values:
        raise SpecError(f"--sweep {sweep}: values should be as in YAML, with commas between")
    if any(value in values[:number] for number, value in enumerate(values)):
        raise SpecError(f"--sweep {sweep}: a value is given twice")
    return values


def _put(data: Any, path: Path, value: Any) -> None:
    """Set the value at a path; mappings that are not there yet are made."""
    for part in path[:-1]:
        if isinstance(part, str) and data.get(part) is None:
            data[part] = {}
        data = data[part]
    data[path[-1]] = value


def _told(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n...")[0].strip()
