"""One execution provider of ONNX Runtime: how it is asked for, and the proof that it was taken.

The engine puts the CPU behind every provider and moves there what the provider does not take, all of a model if need
be, when loading and again when a run fails. So it is asked afterwards, and its retries on the CPU are off.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from nodes.backends.onnxruntime_session import compile_error
from nodes.backends.onnxruntime_settings import Settings
from nodes.errors import CompileError

RECORD = "session.record_ep_graph_assignment_info"
APART, APART_BYTES = "session.optimized_model_external_initializers_min_size_in_bytes", 64 << 10
NAMED = 5  # operators that a message lists
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One of ONNX Runtime's execution providers.

    `precisions` says what to ask of it so that it computes in each; `$threads` there stands for their number.
    `plugin` is the package of a provider that comes by itself. `kept` says how its compiled models are kept: as the
    "optimised" model, as a "context" of the provider's own, or "" for not at all. `free_shapes` is False for one that
    compiles for fixed shapes, or does not check that free ones go together.
    """

    name: str
    install: str
    plugin: str = ""
    precisions: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: {"float32": {}})
    kept: str = "context"
    free_shapes: bool = True

    def options(self, precision: str, threads: int, settings: Settings) -> dict[str, str]:
        """What to tell it: for the precision, then as the user says."""
        asked = {key: value.replace("$threads", str(threads)) for key, value in self.precisions[precision].items()}
        return {**asked, **dict(settings.provider_options)}


HOST = Provider(name="CPUExecutionProvider", install='"isthmus[cpu]"', kept="optimised")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """All that is known of a session before there is one. `devices` is None for a provider built into the engine."""

    engine: str
    module: ModuleType
    provider: Provider
    devices: Sequence[Any] | None
    settings: Settings
    precision: str
    threads: int

    def open(self, source: bytes | Path, *, profile: Path | None = None, optimised: bool = False) -> Any:
        """The engine's session. UnsupportedOperator, or CompileError also where the provider isn't the one used.

        `profile` is the folder for its trace; an `optimised` source is taken as it is.
        """
        options = self.settings.session_options(self.module, self.threads)
        if optimised:
            options.graph_optimization_level = self.module.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile / "run")
        session = self._session(source, options)
        if session.get_providers()[0] != self.provider.name:
            raise CompileError(f"{self.engine} fell back to {session.get_providers()[0]} from {self.provider.name}")
        self._check_shapes(session)
        return session

    def keep(self, source: bytes | Path, folder: Path) -> None:
        """Write what the next session can be opened from, as `folder`/model.onnx."""
        options = self.settings.session_options(self.module, self.threads)
        kept = str(folder / "model.onnx")
        if self.provider.kept == "optimised":
            options.optimized_model_filepath = kept
            # Weights beside the model are mapped into memory, laid out as this CPU's kernels want them. Small ones stay
            # in the model: the engine asks the file system about each that lies elsewhere.
            options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
            options.add_session_config_entry(APART, str(APART_BYTES))
            options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
        else:
            options.add_session_config_entry("ep.context_enable", "1")
            options.add_session_config_entry("ep.context_file_path", kept)
            options.add_session_config_entry("ep.context_embed_mode", "0")
        self._session(source, options)

    def on_cpu(self, session: Any) -> tuple[str, ...] | None:
        """Operators that run on the CPU instead, which is logged; None where an older engine doesn't tell.

        CompileError if those are all, or if there are any and `cpu_fallback` is off.
        """
        if self.provider == HOST:
            return ()
        if not hasattr(session, "get_provider_graph_assignment_info"):
            return None
        placed = [
            (part.ep_name, node) for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()
        ]
        left = tuple(node.name or node.op_type for provider, node in placed if provider == HOST.name)
        named = ", ".join(left[:NAMED]) + (", …" if len(left) > NAMED else "")
        if left and len(left) == len(placed):
            raise CompileError(f"{self.engine}: {self.provider.name} takes no operator of the model ({named})")
        if left and not self.settings.cpu_fallback:
            raise CompileError(
                f"{self.engine}: {self.provider.name} leaves {len(left)} of {len(placed)} operators to the CPU: {named}"
                "; cut the model there, or allow it with the option cpu_fallback"
            )
        if left:
            _log.warning("%s: %s leaves %d operators to the CPU: %s", self.engine, self.provider.name, len(left), named)
        return left

    def _check_shapes(self, session: Any) -> None:
        free = [entry.name for entry in session.get_inputs() if not all(isinstance(dim, int) for dim in entry.shape)]
        if free and not self.provider.free_shapes:
            raise CompileError(
                f"{self.engine} takes fixed shapes only, and input {free[0]!r} has a free one: normalise the model"
            )

    def _session(self, source: bytes | Path, options: Any) -> Any:
        providers: list[Any] = [HOST.name]
        asked = self.provider.options(self.precision, self.threads, self.settings)
        if self.provider != HOST:
            self._be_strict(options, providers)
        try:
            if self.devices is not None:
                options.add_provider_for_devices([self._device(self.devices)], asked)
                providers = []
            elif self.provider != HOST:
                providers.insert(0, (self.provider.name, asked))
            given = str(source) if isinstance(source, Path) else source
            return self.module.InferenceSession(given, options, providers=providers, enable_fallback=0)
        except CompileError:
            raise
        except Exception as error:
            raise compile_error(str(error), self.engine) from None

    def _be_strict(self, options: Any, providers: list[Any]) -> None:
        """Have the placement recorded; where an older engine can't, have it refuse the CPU itself."""
        if hasattr(self.module.InferenceSession, "get_provider_graph_assignment_info"):
            options.add_session_config_entry(RECORD, "1")
        elif not self.settings.cpu_fallback:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            providers.clear()

    def _device(self, devices: Sequence[Any]) -> Any:
        kinds = [kind_of(device) for device in devices]
        if not (wanted := self.settings.device):
            return devices[0]
        if wanted not in kinds:
            raise CompileError(
                f"{self.engine}: option device is {wanted!r}; here are {', '.join(dict.fromkeys(kinds))}"
            )
        return devices[kinds.index(wanted)]


def kind_of(device: Any) -> str:
    """cpu, gpu or npu."""
    return str(device.device.type.name).lower()
