"""TensorRT and TensorRT-RTX as a backend: engines built once, kept in the cache, run on the NVIDIA GPU that is here.

The builder half needs no GPU where the flavour can be told one by name: `build_engine` and `inspect` work anywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.backend import NO_OPTIONS, Capabilities, Option, TensorSpec
from nodes.backends.tensorrt import building
from nodes.backends.tensorrt.building import BuildSettings, Engine
from nodes.backends.tensorrt.cuda import DEVICES, Cuda, open_cuda
from nodes.backends.tensorrt.flavour import Vendor, find, is_installed
from nodes.backends.tensorrt.layers import Layer
from nodes.backends.tensorrt.session import TensorRtSession, layers_of, load_plan
from nodes.backends.tensorrt.shapes import ShapeRange, read_shapes
from nodes.backends.tensorrt.source import PRECISIONS, check_precision, read
from nodes.cache import CacheKey, engine_cache, model_digest
from nodes.errors import CompileError, EngineMissing
from nodes.options import Options

OPTIONS = {
    "min_batch": "the least rows of a free first dimension (1)",
    "opt_batch": "the rows to be fastest at (1)",
    "max_batch": "the most rows of a free first dimension (16)",
    "shapes": "ranges of inputs with other free dimensions: NAME=LEAST:BEST:MOST,… as in ids=1x1:1x128:8x512",
    "cuda_graph": "launch fixed shapes as one CUDA graph (true)",
    "sparsity": "use weights of which two in four are zero (false)",
    "tf32": "let float32 be rounded to 10 bits for speed (false)",
    "workspace_mb": "the most scratch memory while building and running; 0 is the engine's own limit (0)",
}


class TensorRt:
    """The backend. Without `cuda`, only its builder half works."""

    def __init__(self, vendor: Vendor, cuda: Cuda | None) -> None:
        self.vendor = vendor
        self._cuda = cuda

    def capabilities(self) -> Capabilities:
        """float32 and float16; int8 is a model with Q/DQ operators. Which operators: as the parser says."""
        return Capabilities(
            backend=self.vendor.name,
            version=self.vendor.version,
            devices=("cuda",),
            precisions=PRECISIONS,
            operators=_operators(self.vendor),
            options=OPTIONS,
        )

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> TensorRtSession:
        """A session on the GPU that is here; `threads` are the builder's, the GPU runs as it likes."""
        if self._cuda is None:
            raise CompileError(f"{self.vendor.name} was loaded to build only; load it on a machine with a GPU to run")
        graph, settings = _read_options(self.vendor.name, options, threads, None)
        engine = self._engine(model, precision, settings)
        return TensorRtSession(self.vendor, engine, self._cuda, graph=graph, profile=profile)

    def build_engine(
        self,
        model: bytes | Path,
        *,
        compute_capability: str,
        precision: str = "float32",
        threads: int = 1,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> Engine:
        """An engine for a GPU that need not be here, such as "8.9". CompileError lists the capabilities there are."""
        _, settings = _read_options(self.vendor.name, options, threads, compute_capability)
        return self._engine(model, precision, settings)

    def inspect(self, engine: Engine) -> tuple[Layer, ...]:
        """The engine's layers after fusion: as its builder listed them, else as the GPU's runtime tells.

        CompileError where neither does: the builder was silent, and loading an engine takes a GPU.
        """
        return engine.layers or layers_of(self.vendor, load_plan(self.vendor, engine.plan))

    def _engine(self, model: bytes | Path, precision: str, settings: BuildSettings) -> Engine:
        check_precision(self.vendor.name, precision)
        target = self._target(settings.compute_capability)
        key = CacheKey(
            model=self._digest(model),
            engine=f"{self.vendor.name} {self.vendor.version}",
            target=target,
            options=_facts(settings, precision),
        )

        def make(folder: Path) -> None:
            source = read(self.vendor.name, model, precision)
            _write(folder, building.build(self.vendor, source, settings, self._timing_cache(target)))

        with engine_cache().entry(key, make) as folder:
            return _read(folder)

    def _digest(self, model: bytes | Path) -> str:
        try:
            return model_digest(model)
        except OSError as error:
            raise CompileError(f"{self.vendor.name}: cannot read {model!r}: {error.strerror}") from None

    def _target(self, compute_capability: str | None) -> str:
        if compute_capability is not None:
            return f"compute capability {compute_capability}"
        assert self._cuda is not None  # compile() asked
        gpu = self._cuda.gpu()
        return f"{gpu.name} {gpu.compute_capability}"

    def _timing_cache(self, target: str) -> Path:
        """Beside the entries, not one of them: every build on this GPU reads it and adds to it."""
        name = sha256(f"{self.vendor.name} {self.vendor.version} {target}".encode()).hexdigest()[:16]
        return engine_cache().root / f".timing-{name}"


def load(name: str, *, build_only: bool = False) -> TensorRt:
    """The backend of that flavour. EngineMissing, in one line, for a package, a driver or a GPU that isn't here.

    With `build_only` no GPU is looked for, and only `build_engine` and `inspect` work.
    """
    if not is_installed(name):
        raise EngineMissing(f'{name} is not installed; pip install "isthmus[{name}]"')
    if build_only:
        return TensorRt(find(name), None)
    if not any(device.exists() for device in DEVICES):  # before 110 MB of libraries are loaded for nothing
        raise EngineMissing(f"{name}: no NVIDIA GPU is here (no {DEVICES[0]}); use another backend to run")
    try:
        cuda = open_cuda()
    except EngineMissing as error:
        raise EngineMissing(f"{name}: {error}") from None
    return TensorRt(find(name), cuda)


def _read_options(
    name: str, given: Mapping[str, Option], threads: int, compute_capability: str | None
) -> tuple[bool, BuildSettings]:
    with Options(name, given) as options:
        batch = options.count("min_batch", 1), options.count("opt_batch", 1), options.count("max_batch", 16)
        graph = options.switch("cuda_graph", True)
        settings = BuildSettings(
            batch=(batch[0], max(batch[:2]), max(batch)),
            shapes=read_shapes(options.text("shapes", "")),
            sparsity=options.switch("sparsity", False),
            tf32=options.switch("tf32", False),
            workspace_bytes=options.count("workspace_mb", 0, least=0) << 20,
            threads=threads,
            compute_capability=compute_capability,
        )
    return graph, settings


def _facts(settings: BuildSettings, precision: str) -> Mapping[str, Option]:
    """What of the settings changes the engine, for its key."""
    return {
        "precision": precision,
        "batch": ":".join(map(str, settings.batch)),
        "shapes": ",".join(f"{name}={one}" for name, one in sorted(settings.shapes.items())),
        "sparsity": settings.sparsity,
        "tf32": settings.tf32,
        "workspace_bytes": settings.workspace_bytes,
    }


def _write(folder: Path, engine: Engine) -> None:
    (folder / "engine.plan").write_bytes(engine.plan)
    facts = asdict(engine)
    del facts["plan"]
    (folder / "facts.json").write_text(json.dumps(facts))


def _read(folder: Path) -> Engine:
    facts = json.loads((folder / "facts.json").read_text())
    return Engine(
        plan=(folder / "engine.plan").read_bytes(),
        inputs=_specs(facts["inputs"]),
        outputs=_specs(facts["outputs"]),
        ranges={
            name: ShapeRange(tuple(one["least"]), tuple(one["best"]), tuple(one["most"]))
            for name, one in facts["ranges"].items()
        },
        layers=tuple(
            Layer(one["name"], one["kind"], tuple(one["operators"]), tuple(one["dtypes"])) for one in facts["layers"]
        ),
    )


def _specs(facts: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in facts)


@cache
def _operators(vendor: Vendor) -> frozenset[str] | None:
    """Of ONNX's own operators those that the parser takes; None where onnx, which lists them, is absent."""
    try:
        from onnx import defs
    except ImportError:
        return None
    builder = vendor.module.Builder(vendor.log)
    parser = vendor.module.OnnxParser(builder.create_network(vendor.network_flags()), vendor.log)
    names = {schema.name for schema in defs.get_all_schemas() if schema.domain in ("", "ai.onnx")}
    return frozenset(name for name in names if parser.supports_operator(name))
