"""ONNX Runtime. A provider that was asked for and isn't used is an error, never a silent CPU.

Worker threads sleep rather than spin when idle: other stages and the network share the machine's cores. Measured on
EfficientNet-Lite0, 2 threads on 2 cores: spinning is a third faster (8 against 12 ms) on an idle machine, and two times
slower (26 against 9 to 13 ms) beside one busy neighbour.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nodes.backend import NO_OPTIONS, Capabilities, Option
from nodes.backends.host_cpu import host_cpu
from nodes.backends.onnxruntime_operators import operators
from nodes.backends.onnxruntime_package import import_engine, plugin_devices
from nodes.backends.onnxruntime_provider import HOST, Opening, Provider, kind_of
from nodes.backends.onnxruntime_session import OnnxRuntimeSession, compile_error
from nodes.backends.onnxruntime_settings import OPTIONS, PROVIDER_OPTIONS, Settings
from nodes.cache import CacheKey, engine_cache, model_digest
from nodes.errors import CompileError, EngineMissing

__all__ = ["CPU", "NAME", "OnnxRuntime", "compile_error", "load"]

NAME = "onnxruntime"
CPU = (HOST.name,)


class OnnxRuntime:
    """The backend: on the CPU, or on another provider before it, which must then really be used.

    Without `fuse` every operator of the model runs by itself, slowly: for the profiler, which asks for each.
    """

    def __init__(self, provider: Provider = HOST, *, name: str = NAME, fuse: bool = True) -> None:
        self.module = import_engine()
        self._name = name
        self._provider = provider
        self._level = "all" if fuse else "disable"
        available = self.module.get_available_providers()
        self._devices = plugin_devices(name, provider.plugin, provider.name)
        if self._devices is None and provider.name not in available:
            raise EngineMissing(
                f"{name}: ONNX Runtime here lacks {provider.name} (it has {', '.join(available)}); "
                f"pip install {provider.install}"
            )
        if self._devices == ():
            here = dict.fromkeys(f"{kind_of(one)} by {one.device.vendor}" for one in self.module.get_ep_devices())
            raise EngineMissing(f"{name}: {provider.name} finds no device that it drives; here are {', '.join(here)}")

    def capabilities(self) -> Capabilities:
        """On the CPU float32 only: this engine gains nothing there from narrower floats."""
        kinds = [kind_of(device) for device in self._devices or ()]
        own = kinds or [self._provider.name.removesuffix("ExecutionProvider").lower()]
        return Capabilities(
            backend=self._name,
            version=self.module.__version__,
            devices=tuple(dict.fromkeys([*own, "cpu"])),
            precisions=tuple(self._provider.precisions),
            free_shapes=self._provider.free_shapes,
            operators=operators(),
            options=OPTIONS if self._provider == HOST else OPTIONS | PROVIDER_OPTIONS,
        )

    def compile(
        self,
        model: bytes | Path,
        *,
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> OnnxRuntimeSession:
        """A session for an ONNX model; a path is needed where weights lie in files beside it."""
        if precision not in self._provider.precisions:
            able = ", ".join(self._provider.precisions)
            raise CompileError(f"{self._name} runs {able}, not {precision}; choose another backend for it")
        settings = Settings.read(self._name, options, accelerator=self._provider != HOST, level=self._level)
        opening = Opening(
            engine=self._name,
            module=self.module,
            provider=self._provider,
            devices=self._devices,
            settings=settings,
            precision=precision,
            threads=threads,
        )
        with ExitStack() as undo:
            folder = tempfile.TemporaryDirectory(prefix="isthmus-profile-") if profile else None
            if folder is not None:
                undo.callback(folder.cleanup)
            with self._source(model, opening) as source:
                optimised = source != model and self._provider.kept == "optimised"
                trace = None if folder is None else Path(folder.name)
                session = opening.open(source, profile=trace, optimised=optimised)
            made = OnnxRuntimeSession(
                session,
                self._name,
                bound=settings.io_binding,
                profile_folder=folder,
                on_cpu=opening.on_cpu(session),
            )
            undo.pop_all()
        return made

    @contextmanager
    def _source(self, model: bytes | Path, opening: Opening) -> Iterator[bytes | Path]:
        """The model itself, or what was kept of it."""
        if not opening.settings.cache:
            yield model
            return
        if not self._provider.kept:
            raise CompileError(f"{self._name} cannot keep its compiled models; leave out the option cache")
        if isinstance(model, Path) and not model.is_file():
            raise CompileError(f"{self._name}: no file {model}")
        key = CacheKey(
            model=model_digest(model),
            engine=f"{self._name} {self.module.__version__}",
            target=host_cpu(),
            options={
                "level": opening.settings.level,
                "device": opening.settings.device,
                "precision": opening.precision,
                **self._provider.options(opening.precision, opening.threads, opening.settings),
            },
        )
        with engine_cache().entry(key, lambda folder: opening.keep(model, folder)) as folder:
            yield folder / "model.onnx"


def load(provider: Provider = HOST, *, name: str = NAME, fuse: bool = True) -> OnnxRuntime:
    """The backend; EngineMissing where its package is absent or installed twice over, or lacks the provider."""
    return OnnxRuntime(provider, name=name, fuse=fuse)
