"""`python -m nodes.worker`: one node's process, standing alone until told to stop or forgotten by its controller.

Reads the command line and keeps the process's manners: one clear line when it can't start, an announcement when it
has, nothing left behind when it ends. What a worker does is host.py's business.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

    from nodes.host import Host, HostSettings

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_S = 0.5
POOL = 3  # threads beside the loop and the stages' own: each keeps the megabytes that compiling took there


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; exits 2 with usage where it makes no sense."""
    parser = argparse.ArgumentParser(prog="isthmus worker", description="Host stages of a deployment on this node.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port; port 0 takes a free one (%(default)s)")
    parser.add_argument("--node", required=True, help="this node's name in the topology")
    parser.add_argument("--state", type=Path, required=True, help="folder for artifacts; made if absent")
    parser.add_argument("--token-file", type=Path, help="file with the token that peers must show")
    parser.add_argument("--tls", type=Path, help="folder with ca.pem, cert.pem, key.pem (default: $ISTHMUS_TLS)")
    parser.add_argument("--metrics-port", type=int, help="port of the Prometheus endpoint; 0 takes a free one")
    parser.add_argument("--orphan-s", type=float, default=60.0, help="end after so long without controller and traffic")
    parser.add_argument("--announce", type=Path, help="file that gets the address as JSON once the worker listens")
    parser.add_argument("--emulated", action="store_true", help="allow shaped links and slowdowns (one machine only)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until it ends; 0 when it was told to, 1 with one line on stderr when it couldn't."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    for name in _THREAD_SETTINGS:  # before numpy loads: engines are told their threads, BLAS must not add its own
        os.environ.setdefault(name, "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what goes wrong is said once, by us
    if options.tls is not None:
        os.environ["ISTHMUS_TLS"] = str(options.tls.absolute())  # where all that dials or listens looks
    from nodes import json_log
    from nodes.errors import NodesError
    from nodes.memory import keep_memory

    keep_memory()
    try:
        json_log.set_up()
        asyncio.run(_serve(options))
    except (NodesError, OSError) as error:
        sys.stderr.write(f"isthmus worker: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(options: argparse.Namespace) -> None:
    from nodes.host import Host, HostSettings
    from nodes.metrics_endpoint import Endpoint
    from nodes.tls import own_context

    settings = HostSettings(
        node=options.node,
        state=options.state,
        token=_token(options.token_file),
        orphan_s=options.orphan_s,
        emulated=options.emulated,
    )
    host = Host(settings)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(POOL))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, host.stopped.set)
    server, port = await _listen(options.listen, settings, host)
    address = f"{options.listen.rpartition(':')[0]}:{port}"
    endpoint = None
    try:
        if options.metrics_port is not None:
            context = own_context()
            endpoint = Endpoint(address.rpartition(":")[0], options.metrics_port, host.metrics.registry, context)
        announcement = {
            "address": address,
            "port": port,
            "pid": os.getpid(),
            "node": options.node,
            "worker": host.worker,
            "metrics_port": endpoint.port if endpoint else None,
        }
        _announce(options.announce, announcement)
        await host.keep_house()
    finally:
        _withdraw(options.announce)
        await server.stop(GRACE_S)
        await host.close()
        if endpoint is not None:
            endpoint.close()


async def _listen(listen: str, settings: "HostSettings", host: "Host") -> "tuple[grpc.aio.Server, int]":
    import grpc

    from nodes.control_service import ControlService
    from nodes.stream import SERVER_OPTIONS, bind, check_listen
    from nodes.tls import own_identity

    check_listen(listen, settings.token)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((ControlService(host),))
    port = bind(server, listen, own_identity())
    await server.start()
    return server, port


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    from nodes.errors import NotAuthorised

    try:
        token = path.read_text().strip()
    except OSError as error:
        raise NotAuthorised(f"token file {path}: {error.strerror}") from None
    if not token:
        raise NotAuthorised(f"token file {path} is empty")
    return token


def _announce(path: Path | None, announcement: dict[str, object]) -> None:
    """Print where the worker listens, and write it to `path` whole or not at all."""
    line = json.dumps(announcement)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if path is not None:
        written = path.with_name(f".{path.name}.{os.getpid()}")
        written.write_text(line + "\n")
        written.replace(path)


def _withdraw(path: Path | None) -> None:
    """Remove the announcement, unless another worker has replaced it."""
    if path is not None and path.exists() and json.loads(path.read_text())["pid"] == os.getpid():
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
