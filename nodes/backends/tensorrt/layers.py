"""What an engine is made of: its layers after fusion, and which of the model's operators each one runs.

Read from the list that a builder writes at its most talkative, the one inspection that needs no GPU, or from the
engine's inspector where there is one.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

_LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), ", re.M)
_OPERATOR = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_DTYPE = re.compile(r"Datatype\W+(\w+)")
_DTYPES = {"Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "FP8": "float8", "Bool": "bool"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel, copy or shape computation.

    `operators` are the model's names, in the order that the engine tells; `dtypes` those of all that it reads or makes.
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    dtypes: tuple[str, ...]


def from_log(text: str) -> tuple[Layer, ...]:
    """Of the builder's "Layers:" message, one layer a line."""
    lines = text.partition("Layers:\n")[2].splitlines()
    return tuple(_layer(found["name"], found["kind"], line) for line in lines if (found := _LINE.match(line)))


def from_inspector(text: str) -> tuple[Layer, ...]:
    """Of `EngineInspector.get_engine_information(JSON)`; an engine built without details has bare names."""
    layers = json.loads(text).get("Layers", [])
    return tuple(
        Layer(one, "", (), ()) if isinstance(one, str) else _layer(one["Name"], one["LayerType"], _flat(one))
        for one in layers
    )


def _layer(name: str, kind: str, text: str) -> Layer:
    dtypes = sorted({_DTYPES.get(word, word.lower()) for word in _DTYPE.findall(text)})
    return Layer(name, kind, tuple(dict.fromkeys(_OPERATOR.findall(text))), tuple(dtypes))


def _flat(layer: dict[str, Any]) -> str:
    return json.dumps(layer, ensure_ascii=False)
