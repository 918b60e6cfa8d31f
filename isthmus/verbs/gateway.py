"""`isthmus gateway`: the Open Inference Protocol in front of a cluster's deployments."""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.terminal import show, warn
from isthmus.verbs.cluster import refuse_if_nothing_runs, token_of
from nodes.stream import is_loopback
from orchestrator.errors import ClusterError, SpecError

if TYPE_CHECKING:
    from nodes.tls import Identity
    from orchestrator.gateway.limits import Limits

URLS = {"grpc": ("", ""), "http": ("http{s}://", ""), "metrics": ("http{s}://", "/metrics")}
TRACING = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.grpc")
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
    tls: Path | None,
    client_ca: Path | None,
    limits: "Limits",
    connections: int | None,
    held_bytes: int,
    otlp: str | None,
    as_json: bool,
) -> None:
    """Serve until Ctrl-C; `grpc`, `http` and `metrics` are HOST:PORT, or empty for no such door."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ClusterError(f"the gateway needs {', '.join(missing)}: pip install 'isthmus[gateway]'")
    if otlp:
        check_otlp(otlp)
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
            limits=limits,
            most_connections=connections,
            most_held_bytes=held_bytes,
            tls=_identity(tls, client_ca),
        ),
        budget_s=timeout_s,
        repository=repository,
        otlp=otlp or None,
    )
    if tls is None and any(not is_loopback(one.rpartition(":")[0].strip("[]")) for one in (grpc, http) if one):
        warn("tokens and tensors travel in the clear; give --tls FOLDER, unless a proxy before this has TLS")
    where = {"grpc": grpc, "http": http, "metrics": metrics}
    run_gateway(settings, lambda told: _announce(where, told, secure=tls is not None, as_json=as_json))


def _announce(where: Mapping[str, str], told: Mapping[str, Any], *, secure: bool, as_json: bool) -> None:
    """Say which ports are open."""
    if as_json:
        sys.stdout.write(json.dumps(dict(told)) + "\n")
        sys.stdout.flush()
        return
    for door, listen in where.items():
        if told[door] is not None:
            before, behind = URLS[door]
            show(f"{door}: {before.format(s='s' * secure)}{listen.rpartition(':')[0]}:{told[door]}{behind}")
    show("the gateway serves; Ctrl-C ends it")


def _identity(folder: Path | None, client_ca: Path | None) -> "Identity | None":
    """As whom the doors answer; NotAuthorised for files that would not serve."""
    from nodes.tls import Identity

    if folder is None:
        if client_ca is not None:
            raise SpecError("--client-ca needs --tls FOLDER: without TLS nobody shows a certificate")
        return None
    Identity(cert=folder / "cert.pem", key=folder / "key.pem").check()
    return Identity(cert=folder / "cert.pem", key=folder / "key.pem", ca=client_ca)


def check_otlp(otlp: str) -> None:
    """SpecError for what is no HOST:PORT; ClusterError where OpenTelemetry is not installed."""
    host, _, port = otlp.removeprefix("http://").removeprefix("https://").rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise SpecError(f"--otlp {otlp!r} is not HOST:PORT")
    try:
        missing = [name for name in TRACING if find_spec(name) is None]
    except ModuleNotFoundError as error:
        missing = [str(error.name)]
    if missing:
        raise ClusterError(f"--otlp needs {', '.join(missing)}: pip install 'isthmus[otel]'")
