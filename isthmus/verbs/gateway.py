"""`isthmus gateway`: the Open Inference Protocol in front of a cluster's deployments."""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isthmus.terminal import show
from isthmus.verbs.cluster import refuse_if_nothing_runs, token_of
from orchestrator.errors import ClusterError, SpecError

URLS = {"grpc": ("", ""), "http": ("http://", ""), "metrics": ("http://", "/metrics")}
NEEDED = ("starlette", "uvicorn", "httptools", "grpc_health")


def open_gateway(
    grpc: str,
    http: str,
    metrics: str,
    address: str | None,
    token_file: Path | None,
    *,
    timeout_s: float,
    repository: Path | None,
    tokens: Path | None,
    as_json: bool,
) -> None:
    """Serve until Ctrl-C; `grpc`, `http` and `metrics` are HOST:PORT, or empty for no such door."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ClusterError(f"the gateway needs {', '.join(missing)}: pip install 'isthmus[gateway]'")
    if repository is not None and not repository.is_dir():
        raise SpecError(f"--repository {repository}: no such folder")
    refuse_if_nothing_runs(address)
    from orchestrator.gateway.doors import Listen
    from orchestrator.gateway.permits import Permits, read_permits
    from orchestrator.gateway.process import GatewaySettings, run_gateway

    settings = GatewaySettings(
        address=address,
        token=token_of(token_file),
        listen=Listen(
            grpc=grpc or None,
            http=http or None,
            metrics=metrics or None,
            permits=Permits() if tokens is None else read_permits(tokens),
        ),
        budget_s=timeout_s,
        repository=repository,
    )
    hosts = {door: listen.rpartition(":")[0] for door, listen in (("grpc", grpc), ("http", http), ("metrics", metrics))}

    def announce(told: Mapping[str, Any]) -> None:
        if as_json:
            sys.stdout.write(json.dumps(dict(told)) + "\n")
            sys.stdout.flush()
            return
        for door, host in hosts.items():
            if told[door] is not None:
                before, behind = URLS[door]
                show(f"{door}: {before}{host}:{told[door]}{behind}")
        show("the gateway serves; Ctrl-C ends it")

    run_gateway(settings, announce)
