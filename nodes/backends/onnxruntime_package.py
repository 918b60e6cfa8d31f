"""Finds ONNX Runtime and the execution providers that come as packages of their own. Nothing here compiles."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

from nodes.backends.onnxruntime_session import one_line
from nodes.errors import EngineMissing

# Each holds the whole engine, in a folder of the same name.
DISTRIBUTIONS = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-migraphx", "onnxruntime-rocm", "onnxruntime-openvino",
    "onnxruntime-directml", "onnxruntime-vitisai",
)  # fmt: skip


def import_engine() -> ModuleType:
    """The package; EngineMissing where it is absent or installed twice over."""
    check_distributions([name for name in DISTRIBUTIONS if _is_installed(name)])
    try:
        import onnxruntime

        _ = onnxruntime.InferenceSession  # a half-removed distribution leaves an importable, empty package
    except (ImportError, AttributeError):
        raise EngineMissing(
            'ONNX Runtime is not installed; pip install "isthmus[cpu]", or "isthmus[gpu]" for NVIDIA cards'
        ) from None
    module: ModuleType = onnxruntime
    return module


def check_distributions(installed: Sequence[str]) -> None:
    """EngineMissing if several distributions of ONNX Runtime are installed: they overwrite each other's files."""
    both = [name for name in DISTRIBUTIONS if name in installed]
    if len(both) > 1:
        raise EngineMissing(
            f"{' and '.join(both)} are both installed and overwrite each other's files; keep one: "
            f'pip uninstall {" ".join(both)}, then pip install "isthmus[cpu]", "isthmus[gpu]" or {both[-1]}'
        )


def plugin_devices(engine: str, plugin: str, provider: str) -> tuple[Any, ...] | None:
    """The devices that a provider's own package drives here, None where that package is absent.

    EngineMissing, with the vendor's reason, where the package is there and its library does not load.
    """
    if not plugin:
        return None
    try:
        module = import_module(plugin)
        _register(plugin, module.get_library_path())
    except ImportError:
        return None
    except Exception as error:  # such a package looks for its libraries in ways of its own
        raise EngineMissing(f"{engine}: {plugin} does not load: {one_line(str(error))}") from None
    import onnxruntime

    return tuple(device for device in onnxruntime.get_ep_devices() if device.ep_name == provider)


@cache
def _register(plugin: str, library: str) -> None:
    """Once a process: the engine refuses a second time."""
    import onnxruntime

    onnxruntime.register_execution_provider_library(plugin, library)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
