"""A compiled artifact: its steps run in order, functions as Python and each ONNX piece as one session.

A Program is a Session itself, so that whoever runs a stage need not know how many pieces it has.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from nodes import artifact
from nodes.artifact import FunctionStep, Manifest, ModelStep
from nodes.backend import NO_OPTIONS, Array, Option, Session, TensorSpec, load_backend
from nodes.errors import BadInput, CompileError, NodesError, RunError
from nodes.feeds import check_feeds
from nodes.functions import function
from nodes.stage_options import stage_options


class Program:
    """The Session of an artifact. One thread runs it at a time; its outputs belong to the caller."""

    def __init__(self, manifest: Manifest, sessions: Sequence[Session | None]) -> None:
        self.inputs: tuple[TensorSpec, ...] = manifest.inputs
        self.outputs: tuple[TensorSpec, ...] = manifest.outputs
        self._steps = tuple(zip(manifest.steps, sessions, strict=True))
        self._output_names = [spec.name for spec in manifest.outputs]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        backend: str = "onnxruntime",
        precision: str = "float32",
        threads: int = 1,
        profile: bool = False,
        options: Mapping[str, Option] = NO_OPTIONS,
    ) -> "Program":
        """Compile the artifact in `folder`, already verified, for one backend, with the options that a node gives it.

        Of these `threads` goes before the argument, which is the node's. UnsupportedOperator or CompileError, with
        nothing left allocated, if a piece cannot be compiled.
        """
        manifest = artifact.read(folder)
        _check_order(manifest)
        told = stage_options(backend, options, threads=threads)
        sessions: list[Session | None] = []
        with ExitStack() as undo:
            for step in manifest.steps:
                if isinstance(step, FunctionStep):
                    function(step.function)
                    sessions.append(None)
                    continue
                session = load_backend(backend).compile(
                    folder / step.onnx, precision=precision, threads=told.threads, profile=profile, options=told.engine
                )
                undo.callback(session.close)
                sessions.append(session)
            undo.pop_all()
        return cls(manifest, sessions)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. BadInput, naming every tensor that doesn't fit; RunError for an engine's failure."""
        check_feeds(self.inputs, feeds)
        tensors = dict(feeds)
        for step, session in self._steps:
            if session is not None:
                # The session's own list: an engine may drop an input that nothing in the piece reads.
                tensors.update(session.run({spec.name: tensors[spec.name] for spec in session.inputs}))
            elif isinstance(step, FunctionStep):
                tensors.update(_call(step, [tensors[name] for name in step.inputs]))
        return {name: tensors[name] for name in self._output_names}

    def operator_s(self) -> Mapping[str, float] | None:
        """Seconds per ONNX operator over the runs so far, or None where the engine doesn't tell."""
        figures = [session.operator_s() for _, session in self._steps if session is not None]
        if not figures or None in figures:
            return None
        return {name: seconds for figure in figures if figure is not None for name, seconds in figure.items()}

    def close(self) -> None:
        """Free every session."""
        for _, session in self._steps:
            if session is not None:
                session.close()


def _call(step: FunctionStep, arrays: Sequence[Array]) -> dict[str, Array]:
    try:
        return dict(zip(step.outputs, function(step.function).run(step.params, *arrays), strict=True))
    except BadInput as error:
        raise BadInput(f"{step.function} of {', '.join(map(repr, step.inputs))}: {error}") from None
    except NodesError:
        raise
    except Exception as error:  # Pillow's or numpy's own
        raise RunError(f"{step.function}: {type(error).__name__}: {error}") from None


def _check_order(manifest: Manifest) -> None:
    known = {spec.name for spec in manifest.inputs}
    for step in manifest.steps:
        if missing := [name for name in step.inputs if name not in known]:
            label = step.onnx if isinstance(step, ModelStep) else step.function
            raise CompileError(f"step {label} reads {missing[0]!r}, which no earlier step makes")
        known.update(step.outputs)
    if missing := [spec.name for spec in manifest.outputs if spec.name not in known]:
        raise CompileError(f"the artifact gives {missing[0]!r}, which no step makes")
