"""Profiles as JSON files: what `isthmus profile` writes and `isthmus plan --profile` reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure

FORMAT = "isthmus profile 1"


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """A profile as plain values."""
    return {
        "format": FORMAT,
        "model": profile.model,
        "message_s": profile.message_s,
        "message_s_per_byte": profile.message_s_per_byte,
        "engines": [asdict(key) | asdict(engine) for key, engine in profile.engines.items()],
        "codecs": {name: asdict(figure) for name, figure in profile.codecs.items()},
        "tensors": {
            name: {codec: asdict(figure) for codec, figure in figures.items()}
            for name, figures in profile.tensors.items()
        },
    }


def profile_from_json(plain: dict[str, Any]) -> Profile:
    """The profile that plain values mean. KeyError or TypeError for what is no profile."""
    keys, values = EngineKey.__dataclass_fields__, EngineProfile.__dataclass_fields__
    return Profile(
        model=plain["model"],
        message_s=plain["message_s"],
        message_s_per_byte=plain["message_s_per_byte"],
        engines={
            EngineKey(**{name: entry[name] for name in keys}): EngineProfile(**{name: entry[name] for name in values})
            for entry in plain["engines"]
        },
        codecs={name: CodecFigure(**figure) for name, figure in plain["codecs"].items()},
        tensors={
            name: {codec: TensorFigure(**figure) for codec, figure in figures.items()}
            for name, figures in plain["tensors"].items()
        },
    )


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
        if plain.get("format") != FORMAT:
            raise SpecError(f"{path} is no profile of format {FORMAT!r}; write one with: isthmus profile MODEL -o FILE")
        return profile_from_json(plain)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"{path} is no profile: {type(error).__name__}: {error}") from None
