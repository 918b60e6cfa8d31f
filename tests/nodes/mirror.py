"""A worker's inside in a process of its own, around stages that return what they are given, of any size; for tests.

`python -m tests.nodes.mirror STATE` prints its port and its process id, and stays until it is killed.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc

from nodes.backend import Array, TensorSpec
from nodes.control_service import ControlService
from nodes.host import Host, HostSettings
from nodes.stage_spec import StageSpec
from nodes.stream import SERVER_OPTIONS


class Mirror:
    """A program: y is x."""

    def __init__(self) -> None:
        self.inputs = (TensorSpec("x", "float32", (None,)),)
        self.outputs = (TensorSpec("y", "float32", (None,)),)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        return {"y": feeds["x"]}

    def close(self) -> None:
        """Nothing to free."""


async def serve(state: Path) -> None:
    """Until the process is killed."""
    host = Host(HostSettings(node="mirror", state=state))
    spec = StageSpec(deployment="d", epoch=1, stage="s1", artifact="", backend="", returns=("y",))
    await host.hold(spec, Mirror())
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((ControlService(host),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
