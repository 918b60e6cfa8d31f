"""Values ↔ plain dicts, lists, strings and numbers, as msgpack and JSON carry them.

One generic pair of functions for every frozen dataclass of the vocabulary. A dict's key "is" names the
type where the reader cannot know it; nested values are read by their field's type. Unknown keys are
ignored, so that an older version reads a newer one's journal. It never imports a type by its name.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import EnumType
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from orchestrator.errors import JournalError

Plain = dict[str, Any]


def to_plain(value: object) -> Plain:
    """A dataclass as a dict with its type under "is"; tuples become lists, mappings dicts."""
    return {"is": type(value).__name__, **_fields_to_plain(value)}


def from_plain(plain: Mapping[str, Any], types: Mapping[str, type]) -> Any:
    """The value that `to_plain` wrote, of one of `types`. JournalError for an unknown type or a missing field."""
    name = plain.get("is")
    if name not in types:
        raise JournalError(f"{name!r} is not known to this version, which knows {', '.join(types)}")
    return read_as(types[str(name)], plain)


def read_as(kind: Any, plain: Any) -> Any:
    """`plain` read as a value of type `kind`: a dataclass, tuple, list, mapping, optional or scalar."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kinds = [argument for argument in arguments if argument is not NoneType]
        return plain if plain is None or len(kinds) > 1 else read_as(kinds[0], plain)  # several: scalars
    if origin is tuple and arguments[1:] != (Ellipsis,):
        return tuple(read_as(kind, item) for kind, item in zip(arguments, plain, strict=True))
    if origin in (tuple, list):
        return origin(read_as(arguments[0], item) for item in plain)
    if origin in (Mapping, dict):
        return {key: read_as(arguments[1], item) for key, item in plain.items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, plain)
    return kind(plain) if kind in (float, Path) or isinstance(kind, EnumType) else plain


def _read_dataclass(kind: Any, plain: Mapping[str, Any]) -> Any:
    found = {}
    for field, hint in _hints(kind):
        if field.name in plain:
            found[field.name] = read_as(hint, plain[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise JournalError(f"{kind.__name__} lacks {field.name!r}; it was written by another version")
    return kind(**found)


@cache
def _hints(kind: Any) -> tuple[tuple[Field[Any], Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in fields(kind))


def _fields_to_plain(value: Any) -> Plain:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _fields_to_plain(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
