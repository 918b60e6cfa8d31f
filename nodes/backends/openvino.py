"""OpenVINO, on the CPU unless another device is named. The precision is always set: the engine's own may be bfloat16.

Threads are not pinned to cores: two workers on one machine would pin themselves to the same ones. 64-bit integers
are 32 bits wide inside this engine.
"""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nodes.backend import NO_OPTIONS, Capabilities, Option
from nodes.backends.host_cpu import host_cpu
from nodes.backends.openvino_session import NAME, OpenVinoSession, compile_error
from nodes.backends.openvino_settings import HINTS, OPTIONS, Settings, precisions
from nodes.cache import CacheKey, engine_cache, model_digest
from nodes.errors import CompileError, EngineMissing, NodesError

KEPT = "model.blob"


class OpenVino:
    """The backend."""

    def __init__(self) -> None:
        self._core = _core()

    def capabilities(self) -> Capabilities:
        """Version, the devices found, and the precisions that the CPU computes in natively.

        No list of operators: the engine tells of one that it lacks only when it reads a model.
        """
        return Capabilities(
            backend=NAME,
            version=self._version(),
            devices=tuple(name.lower() for name in self._core.available_devices),
            precisions=precisions(self._core, "CPU"),
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
    ) -> OpenVinoSession:
        """A session for an ONNX model; a path is needed where weights lie in files beside it."""
        settings = Settings.read(NAME, self._core, options, precision=precision, threads=threads, profile=profile)
        try:
            if settings.cache:
                return self._from_cache(model, settings)
            source = self._read(model)
            compiled = self._core.compile_model(source, settings.device, settings.config())
            return self._session(compiled, source, settings)
        except NodesError:
            raise
        except Exception as error:
            raise compile_error(str(error)) from None

    def _session(self, compiled: Any, source: Any, settings: Settings, held: object = None) -> OpenVinoSession:
        if wrong := _precisions_used(compiled, settings) - {HINTS[settings.precision]}:
            raise CompileError(f"{NAME} would compute in {min(wrong)} where {settings.precision} was asked for")
        return OpenVinoSession(compiled, source=source, profile=settings.profile, streams=settings.streams, held=held)

    def _from_cache(self, model: bytes | Path, settings: Settings) -> OpenVinoSession:
        if isinstance(model, Path) and not model.is_file():
            raise CompileError(f"{NAME}: no file {model}")

        def keep(folder: Path) -> None:
            compiled = self._core.compile_model(self._read(model), settings.device, settings.config())
            (folder / KEPT).write_bytes(compiled.export_model().getvalue())

        with engine_cache().entry(self._key(model, settings), keep) as folder:
            import openvino

            kept = np.memmap(folder / KEPT, np.uint8, "c")  # writable, or the engine would not share it
            tensor = openvino.Tensor(kept, shared_memory=True)
            compiled = self._core.import_model(tensor, settings.device, settings.config())
        free = any(port.get_partial_shape().is_dynamic for port in compiled.inputs)
        return self._session(compiled, self._read(model) if free else None, settings, held=(kept, tensor))

    def _key(self, model: bytes | Path, settings: Settings) -> CacheKey:
        devices = [self._core.get_property(member, "FULL_DEVICE_NAME") for member in settings.members]
        return CacheKey(
            model=model_digest(model),
            engine=f"{NAME} {self._version()}",
            target=f"{host_cpu()} {', '.join(devices)}",
            options={
                "precision": settings.precision,
                "threads": settings.threads,
                "profile": settings.profile,
                "mode": settings.mode,
                "streams": settings.streams,
                "device": settings.device,
            },
        )

    def _read(self, model: bytes | Path) -> Any:
        return self._core.read_model(str(model) if isinstance(model, Path) else model)

    def _version(self) -> str:
        import openvino

        return str(openvino.__version__).split("-", maxsplit=1)[0]


def load() -> OpenVino:
    """The backend; EngineMissing where its package is absent."""
    return OpenVino()


@cache
def _core() -> Any:
    """One Core per process: it owns the plugin and its thread pools.

    Its telemetry is kept from loading: it calls home at import from a fork, and without internet ends that fork with
    SIGTERM, which the event loop that was forked along hears as its own and stops the worker.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise EngineMissing('OpenVINO is not installed; pip install "isthmus[openvino]"') from None
    return openvino.Core()


def _precisions_used(compiled: Any, settings: Settings) -> set[str]:
    """What each device that takes part was really told to compute in."""
    key = "INFERENCE_PRECISION_HINT"
    if not settings.several:
        return {compiled.get_property(key).to_string()}
    return {told[key].to_string() for told in compiled.get_property("DEVICE_PROPERTIES").values() if key in told}
