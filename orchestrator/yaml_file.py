"""YAML files read into pydantic models; whatever is wrong is said in one line with the path in the file.

It knows nothing of what the files mean.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.errors import SpecError


class StrictModel(BaseModel):
    """A mapping whose keys are all known and whose values have the very type asked for."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=False)


Model = TypeVar("Model", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, (key_node, _) in enumerate(node.value):
            if (key := keys[index]) in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is given twice; keep one", key_node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in the file. SpecError if there is no file, it is no YAML, or not a mapping."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}; give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not text in UTF-8; give the path of a YAML file") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}{_mark(error)}: {_problem(error)}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: should hold keys and values, not {_kind(data)}")
    return data


def check(model: type[Model], data: Any, *, where: str, within: Sequence[str | int] = ()) -> Model:
    """`data` as a `model`. SpecError for its first fault: `where: path.in.file: what and the way out`.

    An unknown key goes first: the key that is missing is likely the one that was meant.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first, *others = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        line = f"{where}: {dotted([*within, *first['loc']])}: {_fault(first, _keys(model, first['loc']))}"
        raise SpecError(line + (f" (and {len(others)} more)" if others else "")) from None


def dotted(path: Iterable[str | int]) -> str:
    """A path in a file as people write it: `nodes[1].memory_mb`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "file"


def _fault(error: Any, keys: Sequence[str]) -> str:
    given = error["input"]
    match error["type"]:
        case "extra_forbidden":
            key = str(error["loc"][-1])
            near = get_close_matches(key, keys, n=1)
            return f"unknown key; did you mean {near[0]!r}?" if near else "unknown key; remove it"
        case "missing":
            return "is missing; add it"
        case "value_error":
            return str(error["ctx"]["error"])
        case "model_type" | "dict_type" | "list_type" as kind:
            wanted = "a list" if kind == "list_type" else "keys and values"
            return f"should be {wanted}, not {_kind(given)}"
        case _:
            said = error["msg"].removeprefix("Input ")
            return f"{said}, is {given!r}"


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Keys of the mapping in which the entry at a path stands, for suggesting one."""
    kind: Any = model
    for part in path[:-1]:
        kind = _behind(kind, part)
    held = _model_in(kind)
    return [] if held is None else [field.alias or name for name, field in held.model_fields.items()]


def _behind(kind: Any, part: str | int) -> Any:
    """What an annotation says of the entry `part` of what it describes; None if nothing."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
        return fields.get(str(part))
    inner = get_args(kind)
    if get_origin(kind) in (list, dict):
        return inner[-1]
    return next((found for each in inner if (found := _behind(each, part)) is not None), None)


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or has beside None."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for each in get_args(kind) if (found := _model_in(each)) is not None), None)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"


def _mark(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or "is not YAML"
