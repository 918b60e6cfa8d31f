"""From an ONNX model to an engine: parse, choose shapes, build. Needs no GPU where the flavour is told one by name.

Networks are strongly typed, float32 stays float32 (no TF32 unless asked for), and what can't be built is refused by
the operator's name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.backend import TensorSpec
from nodes.backends.tensorrt.flavour import Vendor
from nodes.backends.tensorrt.layers import Layer, from_log
from nodes.backends.tensorrt.shapes import FREE, ShapeRange, ranges_of
from nodes.backends.tensorrt.source import Source
from nodes.backends.tensorrt.timing_cache import keep_timing_cache, open_timing_cache
from nodes.errors import CompileError, UnsupportedOperator

_REFUSED = re.compile(r"Cannot compile operation '(?P<operator>[^']*)' (?P<why>for .*?\.)(?: In |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How to build. `workspace_bytes` 0 is the engine's own limit, `compute_capability` None the GPU that is here."""

    batch: tuple[int, int, int]
    shapes: Mapping[str, ShapeRange]
    sparsity: bool = False
    tf32: bool = False
    workspace_bytes: int = 0
    threads: int = 1
    compute_capability: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What a GPU's runtime loads (`plan`), and what is known of it; `layers` are () if the builder told none."""

    plan: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, ShapeRange]
    layers: tuple[Layer, ...]


def build(vendor: Vendor, source: Source, settings: BuildSettings, timing_cache: Path | None = None) -> Engine:
    """An engine for one kind of GPU.

    UnsupportedOperator names operator, type, engine and version; CompileError says what else the engine refused.
    """
    builder = vendor.module.Builder(vendor.log)
    builder.max_threads = settings.threads
    config_of(vendor, builder, settings)  # a GPU that doesn't exist is refused before anything takes time
    network, parser = parsed(vendor, builder, source)
    ranges: dict[str, ShapeRange] | None = None
    for usual in FREE:
        last, ranges = ranges, ranges_of(source.inputs, batch=settings.batch, given=settings.shapes, usual=usual)
        if ranges == last:  # nothing is left to the usual
            break
        config = config_of(vendor, builder, settings)
        _add_profile(vendor, builder, network, config, ranges)
        measured = open_timing_cache(vendor, config, timing_cache)
        with vendor.heard() as said:
            plan = builder.build_serialized_network(network, config)
        if plan is not None or not _too_wide(said):
            break
    del parser  # it owns the weights that the network reads
    if plan is None:
        raise _refusal(vendor, source, said)
    assert ranges is not None  # the loop ran
    if timing_cache is not None and measured is not None:
        keep_timing_cache(timing_cache, measured)
    told = next((line for line in said if "Layers:\n" in line), "")
    return Engine(plan=bytes(plan), inputs=source.inputs, outputs=source.outputs, ranges=ranges, layers=from_log(told))


def parsed(vendor: Vendor, builder: Any, source: Source) -> tuple[Any, Any]:
    """The vendor's network and the parser that it lives off. UnsupportedOperator or CompileError, as `build` says."""
    network = builder.create_network(vendor.network_flags())
    parser = vendor.module.OnnxParser(network, vendor.log)
    path = () if source.path is None else (str(source.path),)
    if not parser.parse(source.content, *path):
        raise _parse_error(vendor, parser)
    for index in range(network.num_inputs):
        if network.get_input(index).is_shape_tensor:
            name = network.get_input(index).name
            raise CompileError(f"{vendor.name}: input {name!r} sets shapes by its values; make it a constant")
    return network, parser


def _parse_error(vendor: Vendor, parser: Any) -> UnsupportedOperator | CompileError:
    error = parser.get_error(0)
    why = _parser_words(error.desc())
    if not error.node_operator():
        return CompileError(f"{vendor.name} {vendor.version}: {why or 'not parsed'}")
    op_type, operator = str(error.node_operator()), str(error.node_name())
    label = f"{op_type} {operator!r}" if operator else op_type
    return UnsupportedOperator(
        f"{vendor.name} {vendor.version} does not support operator {label}{why and f': {why}'}; another backend may",
        operator=operator,
        op_type=op_type,
        backend=vendor.name,
    )


def _parser_words(text: str) -> str:
    """What a person may read of the parser's reason, which is mostly a failed assertion of its source code."""
    if text == "false" or "Plugin not found" in text:
        return ""
    return _one_line(re.sub(r"^Assertion failed: .*?: ", "", text))


def config_of(vendor: Vendor, builder: Any, settings: BuildSettings) -> Any:
    """The vendor's configuration. CompileError lists the compute capabilities there are, if another is asked for."""
    config, module = builder.create_builder_config(), vendor.module
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # names in profiles, and the list of layers
    if not settings.tf32:
        config.clear_flag(module.BuilderFlag.TF32)  # on by default; it keeps 10 bits of float32's 23
    if settings.sparsity:
        config.set_flag(module.BuilderFlag.SPARSE_WEIGHTS)
    if settings.workspace_bytes:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_bytes)
    if settings.compute_capability is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(vendor, settings.compute_capability), 0)
    return config


def _capability(vendor: Vendor, name: str) -> Any:
    known = vendor.compute_capabilities()
    if not known:
        raise CompileError(
            f"{vendor.name} builds for the GPU that is here only; tensorrt-rtx builds for others by name"
        )
    if name not in known:
        raise CompileError(
            f"{vendor.name} {vendor.version} knows no compute capability {name!r}; {', '.join(known)} are"
        )
    return known[name]


def _add_profile(vendor: Vendor, builder: Any, network: Any, config: Any, ranges: Mapping[str, ShapeRange]) -> None:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        profile.set_shape(name, ranges[name].least, ranges[name].best, ranges[name].most)
    with vendor.heard() as said:
        if config.add_optimization_profile(profile) < 0:
            raise CompileError(f"{vendor.name}: shapes refused: {_last_error(said)}")


def _too_wide(said: list[str]) -> bool:
    """Whether the model itself bounds a dimension, by a table of positions say, below what was tried as likeliest."""
    return "violate shape constraints" in _last_error(said)


def _refusal(vendor: Vendor, source: Source, said: list[str]) -> UnsupportedOperator | CompileError:
    error = _last_error(said)
    if found := _REFUSED.search(error):
        operator, op_type = found["operator"], source.op_types.get(found["operator"], "")
        return UnsupportedOperator(
            f"{vendor.name} {vendor.version} does not support operator {op_type} {operator!r} {found['why']} "
            "Another precision may do",
            operator=operator,
            op_type=op_type,
            backend=vendor.name,
        )
    return CompileError(f"{vendor.name} {vendor.version}: {error}")


def _last_error(said: list[str]) -> str:
    errors = [line.partition(" ")[2] for line in said if line.startswith(("ERROR ", "INTERNAL_ERROR "))]
    return _one_line(errors[-1]) if errors else "no reason given"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
