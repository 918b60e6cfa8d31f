"""Profiles as JSON files: what `isthmus profile` writes and `isthmus plan --profile` reads.

A timed segment is its operators' places among the engine's, as ranges [first, behind the last], beside the key that is
their hash. Files of format 1 had neither these nor the operators' first seconds; they are read, and tell a fit nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure, segment_key

FORMAT = "isthmus profile 2"
READ = ("isthmus profile 1", FORMAT)


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """A profile as plain values."""
    return {
        "format": FORMAT,
        "model": profile.model,
        "message_s": profile.message_s,
        "message_s_per_byte": profile.message_s_per_byte,
        "engines": [asdict(key) | _engine_to_json(engine) for key, engine in profile.engines.items()],
        "codecs": {name: asdict(figure) for name, figure in profile.codecs.items()},
        "tensors": {
            name: {codec: asdict(figure) for codec, figure in figures.items()}
            for name, figures in profile.tensors.items()
        },
    }


def profile_from_json(plain: dict[str, Any]) -> Profile:
    """The profile that plain values mean. KeyError, TypeError or ValueError for what is no profile."""
    keys = EngineKey.__dataclass_fields__
    return Profile(
        model=plain["model"],
        message_s=plain["message_s"],
        message_s_per_byte=plain["message_s_per_byte"],
        engines={
            EngineKey(**{name: entry[name] for name in keys}): _engine_from_json(entry) for entry in plain["engines"]
        },
        codecs={name: CodecFigure(**figure) for name, figure in plain["codecs"].items()},
        tensors={
            name: {codec: TensorFigure(**figure) for codec, figure in figures.items()}
            for name, figures in plain["tensors"].items()
        },
    )


def _engine_to_json(engine: EngineProfile) -> dict[str, Any]:
    at = {name: i for i, name in enumerate(engine.operator_s)}
    return {
        "operator_s": dict(engine.operator_s),
        "call_s": engine.call_s,
        "segment_s": dict(engine.segment_s),
        "segments": {key: _ranges([at[name] for name in names]) for key, names in engine.segments.items()},
        "first_s": dict(engine.first_s),
        "options": dict(engine.options),
        "batch_s": {str(rows): seconds for rows, seconds in engine.batch_s.items()},
    }


def _engine_from_json(entry: Mapping[str, Any]) -> EngineProfile:
    operator_s = _seconds(entry["operator_s"])
    names = list(operator_s)
    segments = {
        key: tuple(name for first, behind in ranges for name in names[first:behind])
        for key, ranges in entry.get("segments", {}).items()
    }
    for key, operators in segments.items():
        if segment_key(operators) != key:
            raise ValueError(f"segment {key} does not hold the operators that its key names")
    return EngineProfile(
        operator_s=operator_s,
        call_s=_second("call_s", entry["call_s"]),
        segment_s=_seconds(entry["segment_s"]),
        segments=segments,
        first_s=_seconds(entry.get("first_s", {})),
        options=tuple(entry.get("options", {}).items()),
        batch_s={int(rows): seconds for rows, seconds in _seconds(entry.get("batch_s", {})).items()},
    )


def _ranges(places: Sequence[int]) -> list[list[int]]:
    """The places, in their order, as ranges [first, behind the last]."""
    breaks = [i for i, (a, b) in enumerate(pairwise(places), start=1) if b != a + 1]
    edges = [0, *breaks, len(places)]
    return [[places[start], places[end - 1] + 1] for start, end in pairwise(edges)] if places else []


def _seconds(plain: Mapping[str, Any]) -> dict[str, float]:
    return {name: _second(name, value) for name, value in plain.items()}


def _second(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < 0:
        raise ValueError(f"{name} takes {value!r}, which is no number of seconds")
    return float(value)


def save_profile(profile: Profile, path: Path) -> None:
    """Write a profile file. SpecError if that can't be."""
    try:
        path.write_text(json.dumps(profile_to_json(profile), indent=1) + "\n")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}") from None


def load_profile(path: Path) -> Profile:
    """Read a profile file. SpecError, in one line, for a file that is none."""
    try:
        plain = json.loads(path.read_text())
        if not isinstance(plain, dict) or plain.get("format") not in READ:
            raise SpecError(f"{path} is no profile of format {FORMAT!r}; write one with: isthmus profile MODEL -o FILE")
        return profile_from_json(plain)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"{path} is no profile: {type(error).__name__}: {error}") from None


def profile_of(model: str, path: Path, named: Path) -> Profile:
    """The profile in a file, of the model with this planning identity. SpecError if it is another's."""
    profile = load_profile(path)
    if profile.model != model:
        raise SpecError(f"{path} is the profile of another model than {named}; profile this one")
    return profile
