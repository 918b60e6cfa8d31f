"""A pipeline joined into one model's file, once: the same steps, parameters and models give the same from the cache."""

from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from nodes.errors import NodesError
from nodes.joining.steps import Loop, ModelCall, Pipeline
from orchestrator.cache_folder import cache_folder, fingerprint
from orchestrator.errors import SpecError
from partitioner.errors import PartitionerError

FORM = "1"  # of what joining makes; another number, and nothing of before is taken from the cache


def models_of(pipeline: Pipeline) -> tuple[Path, ...]:
    """The files of models that it runs, each once."""
    return tuple(dict.fromkeys(step.model for step in pipeline.steps if isinstance(step, ModelCall | Loop)))


def joined_file(pipeline: Pipeline) -> Path:
    """The file with the pipeline as one model; SpecError, in one line with both ends, for steps that don't fit."""
    path = cache_folder() / "pipelines" / _key(pipeline) / f"{pipeline.name}.onnx"
    if not path.exists():
        from nodes.joining.join import join
        from nodes.normalising.saving import save

        try:
            save(join(pipeline), None, path)
        except (PartitionerError, NodesError) as error:
            raise SpecError(str(error)) from None
    return path


def _key(pipeline: Pipeline) -> str:
    """Of what is joined, wherever the files lie."""
    steps = [replace(step, model=Path()) if isinstance(step, ModelCall | Loop) else step for step in pipeline.steps]
    meant = repr((FORM, asdict(replace(pipeline, where="", steps=tuple(steps)))))
    digests = repr([fingerprint(step.model) for step in pipeline.steps if isinstance(step, ModelCall | Loop)])
    return sha256(f"{meant} {digests}".encode()).hexdigest()
