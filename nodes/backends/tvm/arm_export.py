"""A model as a folder that a board runs: kernels for its core, TVM's runtime, a small runner. No Python, no compiler.

The board needs Linux with a C++ library as new as the cross compiler's. Nothing here runs the folder.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nodes.backend import TensorSpec
from nodes.backends.tvm.build import LIBRARY, LISTING, build, read_listing
from nodes.backends.tvm.cross import RPC_SERVER, RUNNER, libraries, runtime
from nodes.backends.tvm.targets import target
from nodes.errors import CompileError

TENSORS = "tensors.txt"
_README = """\
Compiled for {target} by TVM {version}. On the board: ./runner . --out . {inputs}
A file is a .npy or raw little-endian bytes; outputs become .npy files, and one line of JSON says how long it took.
Without arguments ./runner names its options.{server}
"""
_SERVER = " ./rpc_server --port 9090 serves this board over TVM RPC, to itself only without --host and --key-file."


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was made: the folder, its size, and what its model takes and makes."""

    folder: Path
    size_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def export(model: bytes | Path, target_name: str, folder: Path, *, threads: int = 1) -> Exported:
    """Compile a model of fixed shapes for a core and put all that runs it into `folder`, which must be new or empty.

    UnsupportedOperator or CompileError, naming what stands in the way: the model, the target, a missing compiler.
    """
    spec = target(target_name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CompileError(f"{folder} exists and is not an empty folder; name a new one")
    with build(model, spec, threads=threads) as built, runtime(spec) as running:
        inputs, outputs = read_listing(built)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (LIBRARY, LISTING):
                shutil.copy(built / name, folder)
            for name in (*libraries(running), RUNNER, RPC_SERVER):
                if (running / name).exists():
                    shutil.copy(running / name, folder)
            (folder / TENSORS).write_text(tensors_text(inputs, outputs))
            (folder / "README").write_text(_readme(folder, target_name, inputs))
        except OSError as error:
            raise CompileError(f"cannot write to {folder}: {error.strerror}") from None
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    return Exported(folder=folder, size_bytes=size_bytes, inputs=inputs, outputs=outputs)


def tensors_text(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """What the runner reads: "input|output DTYPE RANK DIMS... NAME", a line each."""
    lines = []
    for side, specs in (("input", inputs), ("output", outputs)):
        for spec in specs:
            dims = [dim or 0 for dim in spec.shape]
            lines.append(" ".join(map(str, (side, spec.dtype, len(dims), *dims, spec.name))))
    return "\n".join(lines) + "\n"


def _readme(folder: Path, target_name: str, inputs: Sequence[TensorSpec]) -> str:
    from nodes.backends.tvm.vendor import version

    files = " ".join(f"{spec.name}=FILE" for spec in inputs)
    server = _SERVER if (folder / RPC_SERVER).exists() else ""
    return _README.format(target=target_name, version=version(), inputs=files, server=server)
