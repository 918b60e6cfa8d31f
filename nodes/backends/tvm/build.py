"""From a model to a folder that runs it: lowered, scheduled as tuning has found best, compiled, exported, cached.

The folder has `lib.so`, weights included, and `model.json`: names and shapes, the target, versions. A model that was
compiled before is not even lowered again, unless records have become better since.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodes.backend import TensorSpec
from nodes.backends.tvm.kernels import digests, kernels_of, scheduled
from nodes.backends.tvm.lower import Lowered, lower
from nodes.backends.tvm.records import records_of
from nodes.backends.tvm.targets import TargetSpec
from nodes.backends.tvm.vendor import NAME, one_line, quiet, tvm, version
from nodes.cache import CacheKey, engine_cache, model_digest
from nodes.errors import CompileError

LIBRARY = "lib.so"
LISTING = "model.json"
_FORM = 3  # of what is made here; a new one makes every artifact anew


@contextmanager
def build(
    model: bytes | Path, spec: TargetSpec, *, threads: int, trials: int = 0, budget_s: float = 0.0
) -> Iterator[Path]:
    """The folder for a model on a target, valid inside the block.

    With `trials` (per kernel) or `budget_s`, kernels are tuned first, on this machine with `threads` threads: only
    those not tried so often before. UnsupportedOperator or CompileError, naming what stands in the way.
    """
    if not isinstance(model, bytes) and not model.is_file():
        raise CompileError(f"cannot read {model}: no such file")
    tvm()
    lowering = _Lowering(model, spec)
    if trials or budget_s:
        from nodes.backends.tvm.tuning import tune_lowered

        tune_lowered(lowering.done, spec, trials=trials, budget_s=budget_s, threads=threads)
    cache, records = engine_cache(), records_of(spec.kind)
    with cache.entry(lowering.key("kernels"), lowering.list_kernels) as folder:
        keys: list[str] = json.loads((folder / "kernels.json").read_text())
    with cache.entry(lowering.key("library", *digests(keys, records)), lowering.export) as folder:
        yield folder


def read_listing(folder: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of what lies in the folder."""
    listing = json.loads((folder / LISTING).read_text())
    inputs, outputs = (
        tuple(TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in listing[side])
        for side in ("inputs", "outputs")
    )
    return inputs, outputs


def read_origins(folder: Path) -> list[tuple[str, str]]:
    """The kernels of what lies in the folder, in the order of calls, each with the operator that it computes."""
    return [(kernel, operator) for kernel, operator in json.loads((folder / LISTING).read_text())["origins"]]


class _Lowering:
    """A model on its way to a target; it is lowered once, when first needed."""

    def __init__(self, model: bytes | Path, spec: TargetSpec) -> None:
        self._model = model
        self._spec = spec
        self._digest = model_digest(model)
        self._lowered: Lowered | None = None

    @property
    def done(self) -> Lowered:
        if self._lowered is None:
            self._lowered = lower(self._model, tvm().target.Target(dict(self._spec.kind)))
        return self._lowered

    def key(self, *parts: str) -> CacheKey:
        target = json.dumps(dict(self._spec.kind), sort_keys=True)
        options = {str(place): part for place, part in enumerate(parts)}
        return CacheKey(model=self._digest, engine=f"{NAME} {version()} {_FORM}", target=target, options=options)

    def list_kernels(self, folder: Path) -> None:
        kernels = kernels_of(self.done.module, tvm().target.Target(dict(self._spec.kind)))
        (folder / "kernels.json").write_text(json.dumps([kernel.key for kernel in kernels]))

    def export(self, folder: Path) -> None:
        lowered, spec = self.done, self._spec
        target = tvm().target.Target(dict(spec.kind))
        module = scheduled(lowered.module, records_of(spec.kind), target)
        try:
            with quiet():
                _link(tvm().compile(module, target=target), spec, folder / LIBRARY)
        except CompileError:
            raise
        except Exception as error:
            raise CompileError(f"{NAME} cannot compile this model for {spec.name}: {one_line(error)}") from None
        listing = {
            "inputs": [asdict(entry) for entry in lowered.inputs],
            "outputs": [asdict(entry) for entry in lowered.outputs],
            "origins": lowered.origins,
            "target": spec.name,
            "kind": dict(spec.kind),
            "versions": {"tvm": version()},
        }
        (folder / LISTING).write_text(json.dumps(listing, indent=1))


def _link(compiled: Any, spec: TargetSpec, path: Path) -> None:
    """The shared library, by the target's compiler or this machine's."""
    from shutil import which

    if spec.compiler is None:
        if not any(map(which, ("g++", "clang++", "c++"))):
            raise CompileError(f"{NAME} links its kernels with a C++ compiler, and none is here: apt-get install g++")
        compiled.export_library(str(path))
        return
    from nodes.backends.tvm.cross import fcompile

    compiled.export_library(str(path), fcompile=fcompile(spec))
