"""A spec's model at each of the lengths that its inputs may be filled up to, found to be one model at all of them.

What is made is the model of the largest length, which is planned with; what differs at the others goes along in it
(nodes/ragged.py). Refused is what could not run so: an axis that the model fixes, operators that differ.
"""

from collections.abc import Mapping

from nodes.backend import Array, TensorSpec
from nodes.normalise import Normalised, normalise
from nodes.ragged import attach, compared
from orchestrator.errors import SpecError
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.errors import InvalidModel

Shapes = Mapping[str, tuple[int, ...]]


def at_lengths(
    spec: DeploymentSpec, declared: tuple[TensorSpec, ...], shapes: Shapes, samples: Mapping[str, Array]
) -> Normalised:
    """The model normalised at the largest lengths. SpecError for lengths that it does not take.

    `declared` are its inputs as the file has them, `shapes` what the spec gives, `samples` of the largest length.
    """
    ragged = [entry for entry in spec.inputs if entry.lengths]
    known = {one.name: one.shape for one in declared}
    whole = dict(shapes)
    for entry in ragged:
        if (shape := _largest(spec, entry, known)) is not None:
            whole.setdefault(entry.name, shape)
    count = len(ragged[0].lengths)
    told = ["/".join(dict.fromkeys(str(entry.lengths[place]) for entry in ragged)) for place in range(count)]
    made = [_at(spec, ragged, place, whole, samples, told[place]) for place in range(count)]
    try:
        found = compared([each.proto for each in made], [f"length {length}" for length in told])
    except InvalidModel as refused:
        raise SpecError(f"inputs.{ragged[0].name}.pad.lengths: {spec.model.name}: {refused}") from None
    attach(made[-1].proto, found)
    return made[-1]


def _largest(
    spec: DeploymentSpec, entry: InputSpec, declared: Mapping[str, tuple[int | None, ...]]
) -> tuple[int, ...] | None:
    """The shape of the largest length, if nothing but that is free. SpecError where it is not."""
    where, (axis, _) = f"inputs.{entry.name}", entry.pad or (0, 0.0)
    if entry.name not in declared:
        raise SpecError(f"{where}: {spec.model.name} has no such input; it has {', '.join(declared)}")
    shape = declared[entry.name]
    if axis >= len(shape):
        raise SpecError(f"{where}.pad.axis: {axis}, while {spec.model.name} takes {len(shape)} dimensions")
    if shape[axis] is not None:
        raise SpecError(
            f"{where}.pad.lengths: {spec.model.name} fixes axis {axis} at {shape[axis]}, which is its one length; "
            "export it with that axis dynamic, or leave lengths out"
        )
    filled = tuple(entry.lengths[-1] if at == axis else dim for at, dim in enumerate(shape))
    return tuple(dim for dim in filled if dim is not None) if None not in filled else None


def _at(
    spec: DeploymentSpec, ragged: list[InputSpec], place: int, shapes: Shapes, samples: Mapping[str, Array], told: str
) -> Normalised:
    own, cut = dict(shapes), dict(samples)
    for entry in ragged:
        axis, length = (entry.pad or (0, 0.0))[0], entry.lengths[place]
        if entry.name in own:
            own[entry.name] = (*own[entry.name][:axis], length, *own[entry.name][axis + 1 :])
        if entry.name in cut:
            cut[entry.name] = cut[entry.name][(slice(None),) * axis + (slice(length),)]
    try:
        return normalise(spec.model, shapes=own, samples=cut or None)
    except InvalidModel as refused:
        raise SpecError(f"inputs.{ragged[0].name}.pad.lengths: at length {told}: {refused}") from None
