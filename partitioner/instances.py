"""Reads device-placement instances in the published JSON format (Tarnawski et al., NeurIPS 2020), inference only.

`maxSizePerFPGA` bytes an accelerator holds, `maxFPGAs` and `maxCPUs` devices; nodes with `cpuLatency`, `fpgaLatency`,
`size`, `colorClass` (equal ones share a device) and `supportedOnFpga`; edges with the `cost` of sending or receiving
the source's result (the dearest of its edges, where they differ). Accelerators pay for what crosses their edge, CPUs
do not and hold everything.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from math import inf
from typing import Any

from partitioner.errors import InvalidProblem
from partitioner.pipelines import PipelineInstance, Pool

ACCELERATOR, CPU = "acc", "cpu"


def read_instance(text: str, name: str) -> PipelineInstance:
    """The instance in a JSON text; operators are named by their ids. InvalidProblem says what is wrong, in a line."""
    try:
        told = json.loads(text)
        return _instance(told, name)
    except json.JSONDecodeError as error:
        raise InvalidProblem(f"{name}: not JSON: {error}") from None
    except KeyError as missing:
        raise InvalidProblem(f"{name}: key {missing} is missing") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidProblem(f"{name}: not an instance: {error}") from None


def _instance(told: Mapping[str, Any], name: str) -> PipelineInstance:
    nodes, edges = list(told["nodes"]), list(told["edges"])
    if any(node.get("isBackwardNode") for node in nodes):
        raise InvalidProblem(f"{name}: has backward nodes; only inference instances are read")
    ids = [node["id"] for node in nodes]
    index = {identity: number for number, identity in enumerate(ids)}
    if len(index) < len(ids):
        raise InvalidProblem(f"{name}: two nodes have the same id")
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        if node.get("colorClass") is not None:
            groups[node["colorClass"]].append(number)
    transfer_s = [0.0] * len(nodes)
    reads = []
    for edge in edges:
        for end in (edge["sourceId"], edge["destId"]):
            if end not in index:
                raise InvalidProblem(f"{name}: an edge names node {end!r}, which is not there")
        if not float(edge["cost"]) >= 0:
            raise InvalidProblem(f"{name}: the edge {edge['sourceId']} → {edge['destId']} costs {edge['cost']!r}")
        source = index[edge["sourceId"]]
        reads.append((source, index[edge["destId"]]))
        transfer_s[source] = max(transfer_s[source], float(edge["cost"]))
    accelerated = tuple(float(node["fpgaLatency"]) if node["supportedOnFpga"] else inf for node in nodes)
    return PipelineInstance(
        name=name,
        operators=tuple(str(identity) for identity in ids),
        reads=tuple(dict.fromkeys(reads)),
        transfer_s=tuple(transfer_s),
        nbytes=tuple(float(node["size"]) for node in nodes),
        pools=(
            Pool(
                name=ACCELERATOR,
                count=int(told["maxFPGAs"]),
                seconds=accelerated,
                memory_bytes=float(told["maxSizePerFPGA"]),
            ),
            Pool(
                name=CPU,
                count=int(told["maxCPUs"]),
                seconds=tuple(float(node["cpuLatency"]) for node in nodes),
                pays_transfers=False,
            ),
        ),
        together=tuple(tuple(group) for group in groups.values() if len(group) > 1),
    )
