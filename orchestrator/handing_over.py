"""A spec's model, put where the controller can read it."""

from nodes.backend import Array
from orchestrator import ray_shell
from orchestrator.bond import Bond
from orchestrator.model_file import files_of, prepare
from orchestrator.samples import load_samples
from orchestrator.spec import DeploymentSpec


def handed_over(bond: Bond, spec: DeploymentSpec) -> tuple[str, tuple[dict[str, Array], ...]]:
    """The normalised model's path at the controller, and samples of its inputs. InvalidModel; ClusterError."""
    ready = prepare(spec)
    samples = load_samples({e.name: e.samples for e in spec.inputs if e.samples is not None}, ready.inputs)
    if bond.facts["host"] == ray_shell.host_id():
        return str(ready.path), samples
    files = {name: file.read_bytes() for name, file in files_of(ready.path).items()}
    path: str = bond.ask("take_model", ready.sha256, files)
    return path, samples
