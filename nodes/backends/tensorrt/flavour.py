"""Finds TensorRT or TensorRT-RTX: one Python API over two families of libraries, in versions that differ a little.

What differs is data here, in `APIS`; nothing else asks which flavour it has. Needs no GPU.
"""

import ctypes
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nodes.errors import EngineMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """Where a family is looked for. Jetson's packages put the libraries where the loader finds them by itself."""

    bindings: tuple[str, ...]
    library_packages: tuple[str, ...]
    libraries: tuple[str, ...]  # patterns, in loading order


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What one major version of a family asks for.

    `network_flags`: to make networks strongly typed. `timing_cache`: whether builders measure kernels, and so gain
    from what was measured before. `names_gpus`: whether builders take a compute capability that isn't here.
    """

    network_flags: tuple[str, ...] = ()
    timing_cache: bool = True
    names_gpus: bool = False


FLAVOURS = {
    "tensorrt": Flavour(
        bindings=("tensorrt", "tensorrt_bindings"),
        library_packages=("tensorrt_libs",),
        libraries=("libnvinfer.so.*", "libnvinfer_plugin.so.*", "libnvonnxparser.so.*"),
    ),
    "tensorrt-rtx": Flavour(
        bindings=("tensorrt_rtx", "tensorrt_rtx_bindings"),
        library_packages=("tensorrt_rtx_libs", "onnxruntime_ep_nv_tensorrt_rtx"),
        libraries=("libtensorrt_rtx.so.*", "libtensorrt_onnxparser_rtx.so.*"),
    ),
}
APIS = {
    ("tensorrt", 10): Api(network_flags=("STRONGLY_TYPED",)),
    ("tensorrt", 11): Api(),
    ("tensorrt-rtx", 1): Api(timing_cache=False, names_gpus=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Vendor:
    """A family that was found. `log` hears everything its objects say, and prints nothing."""

    name: str
    version: str
    module: Any
    api: Api
    log: Any

    def network_flags(self) -> int:
        """The bits that `Builder.create_network` wants for a strongly typed network."""
        kinds = self.module.NetworkDefinitionCreationFlag
        return sum(1 << int(getattr(kinds, flag)) for flag in self.api.network_flags)

    def compute_capabilities(self) -> Mapping[str, Any]:
        """The GPUs that a builder can be told by name: "8.9" → the vendor's word for it. Empty if it can't be."""
        if not self.api.names_gpus:
            return {}
        return {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in sorted(
                self.module.ComputeCapability.__members__.items(), key=lambda item: int(item[1].value)
            )
            if re.fullmatch(r"SM\d{2,3}", name)
        }

    @contextmanager
    def heard(self) -> Iterator[list[str]]:
        """Errors, warnings and the builder's list of layers, said inside the block by anyone in this process."""
        said: list[str] = []
        self.log.listeners.append(said)
        try:
            yield said
        finally:
            self.log.listeners[:] = [listener for listener in self.log.listeners if listener is not said]


def is_installed(name: str) -> bool:
    """Whether the Python half is here; nothing is loaded."""
    return any(find_spec(module) is not None for module in FLAVOURS[name].bindings)


@cache
def find(name: str) -> Vendor:
    """Load "tensorrt" or "tensorrt-rtx". EngineMissing, in one line, where a half of it is absent or too old."""
    flavour = FLAVOURS[name]
    if not is_installed(name):
        raise EngineMissing(f'{name} is not installed; pip install "isthmus[{name}]"')
    loaded = _load_libraries(name, flavour)
    (binding, *_) = [module for module in flavour.bindings if find_spec(module) is not None]
    try:
        module = import_module(binding)
        version = str(module.__version__)
        _ = module.OnnxParser
    except (ImportError, OSError, AttributeError) as error:  # the bindings alone, or half of an installation
        said = str(error).splitlines()[0]
        raise EngineMissing(f'{name}: its libraries are missing ({said}); pip install "isthmus[{name}]"') from None
    if strange := [one for one in loaded if version.split(".")[: len(one.split("."))] != one.split(".")]:
        raise EngineMissing(f"{name}: bindings {version} but libraries {strange[0]}; install the same version of both")
    api = APIS.get((name, int(version.partition(".")[0])))
    if api is None:
        known = ", ".join(str(major) for family, major in APIS if family == name)
        raise EngineMissing(f'{name} {version} is not spoken here (API {known} is); pip install "isthmus[{name}]"')
    return Vendor(name, version, module, api, _silent_log(module))


def _load_libraries(name: str, flavour: Flavour) -> tuple[str, ...]:
    """Load what lies in packages, for all to see: the bindings ask for it by name only. Gives the versions loaded."""
    for package in flavour.library_packages:
        spec = find_spec(package)
        folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
        paths = [newest for pattern in flavour.libraries if (newest := _newest(folders, pattern)) is not None]
        if len(paths) < len(flavour.libraries):
            continue
        try:
            for path in paths:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise EngineMissing(f"{name}: {path.name} does not load: {error}") from None
        return tuple(_library_version(path) for path in paths)
    return ()


def _newest(folders: list[Path], pattern: str) -> Path | None:
    found = [path for folder in folders for path in folder.glob(pattern)]
    return max(found, key=lambda path: [int(part) for part in _library_version(path).split(".")], default=None)


def _library_version(path: Path) -> str:
    """Of libnvinfer.so.10.16.1: 10.16.1."""
    return ".".join(re.findall(r"\d+", path.name.partition(".so")[2])) or "0"


def _silent_log(module: Any) -> Any:
    """One for the process: the vendor keeps the first that it is given."""
    severity = module.ILogger.Severity
    loud = (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING)

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.listeners: list[list[str]] = []

        def log(self, level: Any, message: str) -> None:
            if level in loud or message.startswith("Layers:"):
                for listener in self.listeners:
                    listener.append(f"{level.name} {message}")

    return Log()
