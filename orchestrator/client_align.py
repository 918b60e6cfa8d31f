"""What Client.align takes from a deployment's spec: its terms, and stand-ins put at the nodes where inputs are."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from orchestrator.aligned import Given, Value
from orchestrator.aligning.terms import AlignTerms
from orchestrator.client_source import Sensor
from orchestrator.spec import DeploymentSpec
from partitioner.topology import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """`instead`: by modality what stands for its inputs, until `close`."""

    instead: dict[str, Given]
    close: Callable[[], None]


def terms_in(spec: DeploymentSpec) -> AlignTerms:
    """ValueError for a spec that says nothing of alignment."""
    if spec.align is None:
        raise ValueError(f"{spec.name}'s spec has no align; add it and deploy again, or give terms here")
    return spec.align


def stand_ins(spec: DeploymentSpec, terms: AlignTerms, sensor: Callable[[NodeId], Sensor]) -> StandIns:
    """Each as it is for an input at the deployment's source, and as an item that `sensor` holds for one elsewhere."""
    elsewhere = {entry.name: entry.at for entry in spec.inputs if entry.at != spec.source}
    sensors: dict[NodeId, Sensor] = {}
    with ExitStack() as opened:

        def value(name: str, modality: str) -> Value:
            array = terms.modalities[modality].instead[name].array()
            if (node := elsewhere.get(name)) is None:
                return array
            if node not in sensors:
                sensors[node] = opened.enter_context(sensor(node))
            return sensors[node].put({name: array})

        instead: dict[str, Given] = {
            modality: {name: value(name, modality) for name in one.instead}
            for modality, one in terms.modalities.items()
            if one.instead
        }
        return StandIns(instead=instead, close=opened.pop_all().close)
