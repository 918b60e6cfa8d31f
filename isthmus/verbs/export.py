"""`isthmus export`: a model compiled for a board's core, as a folder that the board runs with nothing installed."""

from collections.abc import Sequence
from pathlib import Path

from isthmus.question import Question
from isthmus.terminal import progress, show, show_json
from orchestrator.model_file import prepare


def export_model(model: Path, target: str, output: Path, shapes: Sequence[str], *, threads: int, as_json: bool) -> None:
    """Normalise the model with the shapes given, compile it for the target and write the folder."""
    from nodes.backends.tvm.arm_export import export
    from nodes.backends.tvm.vendor import check_installed

    check_installed()
    question = Question(model=model, topology=None, shapes=tuple(shapes), samples=(), max_error=0.0)
    ready = prepare(question.spec())
    with progress(f"compiling for {target}"):
        made = export(ready.path, target, output, threads=threads)
    if as_json:
        listed = [[[one.name, one.dtype, one.shape] for one in some] for some in (made.inputs, made.outputs)]
        show_json({"folder": str(output), "bytes": made.size_bytes, "inputs": listed[0], "outputs": listed[1]})
        return
    show(f"{output}: {made.size_bytes / 1e6:.1f} MB, for {target}; copy it to the board, its README says how to run it")
