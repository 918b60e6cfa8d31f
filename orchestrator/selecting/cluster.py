"""`isthmus select --address`: a client whose nodes measure cells on themselves. Nothing is deployed."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.client import Client
from orchestrator.errors import SpecError
from orchestrator.selecting.asked import Asked, check
from orchestrator.selecting.comparison import Comparison, compare
from orchestrator.selecting.on_nodes import machines
from orchestrator.spec import DeploymentSpec
from partitioner.topology import Node, NodeId, Topology


class NodesClient(Client):
    """A client that reaches the agents which speak to nodes' workers."""

    def on_node(self, node: NodeId, method: str, *args: Any) -> Any:
        """A method of the node's agent by name, such as "call"; its errors are raised as themselves."""
        return self._ask("on_node", node, method, *args)


def compare_there(
    asked: Asked,
    address: str,
    names: Sequence[str],
    *,
    token: str | None,
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> Comparison:
    """Compare on a cluster's nodes: those of `asked`, or, if it has none, those found there; of these the `names`.

    SpecError or ClusterError, in one line, for a node that there isn't or that can't be reached.
    """
    asked = replace(asked, remote=True)
    check(asked)
    with closing(NodesClient(address, token=token)) as client:
        nodes = asked.nodes or _found(client, names)
        client.bring_up(_spec(asked.model, nodes))
        there = machines(nodes, client.on_node)
        return compare(replace(asked, nodes=nodes), clock=clock, say=say, machines=there)


def _found(client: NodesClient, names: Sequence[str]) -> tuple[Node, ...]:
    known = client.discover().by_name
    for name in names:
        if name not in known:
            raise SpecError(f"--nodes: no node {name!r} in the cluster; nodes are {', '.join(known)}")
    return tuple(known[name] for name in names or known)


def _spec(model: Path, nodes: Sequence[Node]) -> DeploymentSpec:
    """A spec for the sake of its topology."""
    topology = Topology(tuple(nodes))
    return DeploymentSpec(name="select", model=model, topology=topology, source=nodes[0].name, inputs=())
