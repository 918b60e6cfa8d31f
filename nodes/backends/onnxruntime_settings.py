"""How an ONNX Runtime session is to be made, read from a user's options and told to the engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from nodes.backend import Option
from nodes.errors import CompileError
from nodes.options import Options

LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
EXECUTIONS = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
OPTIONS = {
    "level": "how far the graph is optimised: disable, basic, extended, layout, all (the default)",
    "spinning": "idle threads spin rather than sleep: faster alone on a machine, slower beside a busy neighbour",
    "execution": "sequential (the default), or parallel: independent branches side by side",
    "inter_op_threads": "threads for those branches, 1 unless given",
    "io_binding": "tensors lie in buffers that the engine was told of once; for small models of fixed shapes",
    "cache": "the optimised model is kept on disk and not optimised again",
}
PROVIDER_OPTIONS = {
    "cpu_fallback": "operators that the provider lacks run on the CPU (the default); without it they are refused",
    "provider_options": "the provider's own, as KEY=VALUE; KEY=VALUE",
    "device": "which kind of device, where the provider drives several",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the options of one `compile` say."""

    level: str = "all"
    spinning: bool = False
    execution: str = "sequential"
    inter_op_threads: int = 1
    io_binding: bool = False
    cache: bool = False
    cpu_fallback: bool = True
    device: str = ""
    provider_options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(
        cls, engine: str, given: Mapping[str, Option], *, accelerator: bool = False, level: str = "all"
    ) -> "Settings":
        """CompileError for an option or value that this engine doesn't have; `level` is the one if none is given."""
        with Options(engine, given) as options:
            own = cls(
                level=options.choice("level", level, tuple(LEVELS)),
                spinning=options.switch("spinning", False),
                execution=options.choice("execution", "sequential", tuple(EXECUTIONS)),
                inter_op_threads=options.count("inter_op_threads", 1),
                io_binding=options.switch("io_binding", False),
                cache=options.switch("cache", False),
                cpu_fallback=options.switch("cpu_fallback", True) if accelerator else True,
                device=options.text("device", "") if accelerator else "",
                provider_options=_pairs(engine, options.text("provider_options", "")) if accelerator else (),
            )
        return own

    def session_options(self, module: ModuleType, threads: int) -> Any:
        """The engine's SessionOptions, silent: what goes wrong is raised, the engine need not print it too."""
        made = module.SessionOptions()
        made.log_severity_level = 4
        made.intra_op_num_threads = threads
        made.inter_op_num_threads = self.inter_op_threads
        made.execution_mode = getattr(module.ExecutionMode, EXECUTIONS[self.execution])
        made.add_session_config_entry("session.intra_op.allow_spinning", str(int(self.spinning)))
        made.add_session_config_entry("session.inter_op.allow_spinning", str(int(self.spinning)))
        levels = module.GraphOptimizationLevel
        # An engine older than the layout level has that step in its last one.
        made.graph_optimization_level = getattr(levels, LEVELS[self.level], levels.ORT_ENABLE_ALL)
        return made


def _pairs(engine: str, text: str) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE; KEY=VALUE as pairs."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    if wrong := [key for key, sign, _ in pairs if not sign]:
        raise CompileError(f"{engine}: option provider_options has {wrong[0].strip()!r}, must be KEY=VALUE; KEY=VALUE")
    return tuple((key.strip(), value.strip()) for key, _, value in pairs)
