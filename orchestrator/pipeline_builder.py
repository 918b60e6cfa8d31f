"""Pipelines built in Python: the very data that a spec's YAML holds, so that both give the same spec.

search = Pipeline("search")
query = search.source("query", at="phone", dtype="string", shape=[1])
words = search.function("words", "tokenise", query, tokenizer={"text": "tokenizer.json"}, length=32)
meant = search.model("meant", "minilm.onnx", {"ids": words["ids"], "mask": words["mask"]}, at="cloud")
search.output("embedding", meant)
client.deploy(search.spec(topology="topology.yaml"))
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.spec import DeploymentSpec, parse_spec


@dataclass(frozen=True, slots=True)
class Wire:
    """What a source or a step gives. `wire["PORT"]` is one of a step's ports."""

    name: str

    def __getitem__(self, port: str) -> "Wire":
        return Wire(f"{self.name}.{port}")

    def __str__(self) -> str:
        return self.name


Reads = Wire | str


class Pipeline:
    """A pipeline being built. Names and types are checked by `spec`, as those of a file are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inputs: dict[str, Any] = {}
        self._steps: dict[str, Any] = {}
        self._outputs: dict[str, Any] = {}

    def source(self, name: str, *, at: str, dtype: str, shape: Sequence[int | None] | None = None, **more: Any) -> Wire:
        """Where data comes in, at a node: tensors of this shape, None for what differs from item to item.

        `more` as in a spec's `inputs`: samples, private.
        """
        told = {"at": at, "dtype": dtype} | ({} if shape is None else {"shape": list(shape)}) | _plain(more)
        return self._add(self._inputs, name, told)

    def model(self, name: str, path: str | Path, reads: Reads | Mapping[str, Reads], *, at: str | None = None) -> Wire:
        """Runs an ONNX file. One wire alone feeds its one input, or each of several from the port of its name."""
        return self._step(name, {"model": str(path), "reads": _plain(reads)}, at)

    def function(self, name: str, function: str, *reads: Reads, at: str | None = None, **params: Any) -> Wire:
        """Calls a registered function."""
        return self._step(name, {"function": function, "reads": _plain(list(reads))}, at, params)

    def fusion(self, name: str, fusion: str, *reads: Reads, at: str | None = None, **params: Any) -> Wire:
        """Makes one tensor of several."""
        return self._step(name, {"fusion": fusion, "reads": _plain(list(reads))}, at, params)

    def loop(
        self, name: str, path: str | Path, reads: Reads | Mapping[str, Reads], *, at: str | None = None, **terms: Any
    ) -> Wire:
        """Says tokens with a model of one step. `terms` as in a file: state, prefix, end, most and so on."""
        return self._step(name, {"loop": str(path), "reads": _plain(reads)} | _plain(terms), at)

    def output(self, name: str, wire: Reads) -> None:
        """Gives a wire in answers, under this name."""
        self._add(self._outputs, name, {"from": str(wire)})

    def data(self, **keys: Any) -> dict[str, Any]:
        """What a file would hold. `keys` are a spec's others: topology, parallel, limits."""
        own = {"inputs": self._inputs, "steps": self._steps, "outputs": self._outputs}
        return {"name": self.name, **_plain(keys), **own}

    def spec(self, folder: str | Path = ".", **keys: Any) -> DeploymentSpec:
        """The deployment, to be given to `Client.deploy`. Paths are relative to `folder`. SpecError for a fault."""
        return parse_spec(self.data(**keys), where=f"pipeline {self.name}", folder=Path(folder))

    def save(self, path: str | Path, **keys: Any) -> Path:
        """Write the file that means the same; its paths are relative to it."""
        path = Path(path)
        path.write_text(yaml.safe_dump(self.data(**keys), sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def _step(self, name: str, told: dict[str, Any], at: str | None, params: Mapping[str, Any] | None = None) -> Wire:
        if params:
            told["params"] = _plain(params)
        return self._add(self._steps, name, told | ({} if at is None else {"at": at}))

    def _add(self, to: dict[str, Any], name: str, told: Any) -> Wire:
        if name in to:
            raise ValueError(f"pipeline {self.name}: {name!r} is there already; give this one a name of its own")
        to[name] = told
        return Wire(name)


def _plain(value: Any) -> Any:
    """As YAML would give it: lists for tuples, text for wires and paths."""
    match value:
        case Wire() | Path():
            return str(value)
        case Mapping():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value
