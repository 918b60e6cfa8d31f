"""Verbs that speak to a cluster: run, deploy, status, infer, logs, delete, shutdown, topology."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from isthmus.question import Question
from isthmus.render import hops_table, plan_picture, status_table, transfer_times
from isthmus.terminal import fail, progress, show, show_json
from isthmus.verbs.profile import refuse_early
from nodes.errors import NotAuthorised
from nodes.tls import own_identity
from orchestrator import local_cluster
from orchestrator.answers import Answer
from orchestrator.client import Client
from orchestrator.errors import ClusterError, UnknownDeployment
from orchestrator.model_file import prepare
from orchestrator.plan_json import plan_to_json
from orchestrator.profile_file import profile_of
from orchestrator.samples import load_inputs
from orchestrator.spec import DeploymentSpec, load_spec
from orchestrator.topology_spec import topology_to_plain
from partitioner.plan import Crossing


def joined(address: str | None, token: str | None = None) -> Client:
    """A client of a cluster that is already there; ClusterError, with the way out, if none is."""
    refuse_if_nothing_runs(address)
    return Client(address, token=token)


def refuse_if_nothing_runs(address: str | None) -> None:
    """ClusterError, with the way out, where no cluster is there to be joined."""
    if address is None and local_cluster.remembered() is None:
        raise ClusterError("nothing runs on this machine; start with: isthmus deploy SPEC, or give --address HOST:PORT")


def run_foreground(
    what: Path, topology: Path | None, address: str | None, shapes: Sequence[str], metrics_port: int | None
) -> None:
    """Deploy, say where it stands, and wait for Ctrl-C; then nothing is left running."""
    spec = _spec_of(what, topology, shapes)
    refuse_early(spec, address)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end is as good as Ctrl-C
    with Client(address) as client, client.found_by_others():
        with progress(f"deploying {spec.name}"):
            client.deploy(spec)
        show(plan_picture(client.plan(spec.name)))
        if metrics_port is not None:
            scheme = "http" if own_identity() is None else "https"
            show(f"router metrics: {scheme}://127.0.0.1:{client.serve_metrics(metrics_port)}/metrics")
        show(f"{spec.name} serves; ask it with: isthmus infer {spec.name} --input FILE; Ctrl-C ends it")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            show("ending")
        client.delete(spec.name)


def _spec_of(what: Path, topology: Path | None, shapes: Sequence[str]) -> DeploymentSpec:
    if what.suffix in (".yaml", ".yml"):
        return load_spec(what)
    return Question(model=what, topology=topology, shapes=tuple(shapes)).spec()


def deploy_spec(
    path: Path, profile_file: Path | None, address: str | None, token_file: Path | None, *, as_json: bool
) -> None:
    """Deploy a spec file and leave it running; with a profile from a file nothing is measured."""
    spec = load_spec(path)
    profile = None if profile_file is None else profile_of(prepare(spec).sha256, profile_file, spec.model)
    token = token_of(token_file)
    refuse_early(spec, address)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _cluster_kept_on_success(address), Client(address, keep=address is None, token=token) as client:
        with progress(f"deploying {spec.name}"), _withdrawn_if_interrupted(client, spec.name):
            status = client.deploy(spec, profile=profile)
        plan = client.plan(spec.name)
    if as_json:
        show_json({"name": spec.name, "epoch": status["epoch"], "plan": plan_to_json(plan)})
    else:
        show(plan_picture(plan))
        show(f"{spec.name} serves")


@contextmanager
def _cluster_kept_on_success(address: str | None) -> Iterator[None]:
    """A local cluster that was started in here ends with its workers if what was to run on it fails."""
    was_there = address is not None or local_cluster.remembered() is not None
    try:
        yield
    except BaseException:
        cluster = None if was_there else local_cluster.remembered()
        if cluster is not None:
            cluster.remove()
            local_cluster.forget()
        raise


@contextmanager
def _withdrawn_if_interrupted(client: Client, name: str) -> Iterator[None]:
    """Ctrl-C takes a new deployment back; a change of one that ran is carried through by the controller."""
    is_new = name not in client.status()["deployments"]
    try:
        yield
    except KeyboardInterrupt:
        with suppress(UnknownDeployment):
            if is_new:
                client.delete(name)
        raise


def token_of(path: Path | None) -> str | None:
    """What a token file holds; None without a file. NotAuthorised if it can't be read."""
    return None if path is None else _token(path)


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise NotAuthorised(f"token file {path}: {error.strerror}") from None


def print_status(address: str | None, *, as_json: bool) -> None:
    """What runs, where, and why."""
    with joined(address) as client:
        status = client.status()
    if as_json:
        show_json(status)
    else:
        show(status_table(status))


def infer_file(
    name: str, path: Path, output: Path | None, timeout_s: float, address: str | None, *, trace: bool, as_json: bool
) -> None:
    """Answer one request made of a file."""
    with joined(address) as client:
        client.join(name)
        answer = client.answer(name, load_inputs(path, client.inputs(name)), timeout_s=timeout_s, trace=trace)
        transfers = transfer_times(client.plan(name), answer.hops, answer.latency_s) if trace else []
    if output is not None:
        _save(output, answer)
    if as_json:
        show_json(_answer_json(answer, transfers))
        return
    for tensor, array in answer.outputs.items():
        flat = array.reshape(-1)
        best = ", ".join(f"[{i}] {flat[i]:.4g}" for i in np.argsort(flat)[::-1][:5])
        show(f"{tensor}: {array.dtype.name}{list(array.shape)}; largest: {best}")
    show(f"{answer.latency_s * 1e3:.1f} ms, epoch {answer.epoch}")
    if trace:
        show(hops_table(answer.hops, transfers))


def _save(output: Path, answer: Answer) -> None:
    try:
        np.savez(output, allow_pickle=False, **answer.outputs)
    except OSError as error:
        fail(f"cannot write {output}: {error.strerror}")


def _answer_json(answer: Answer, transfers: Sequence[tuple[Crossing, float]]) -> dict[str, Any]:
    outputs = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tolist()}
        for name, array in answer.outputs.items()
    }
    return {
        "outputs": outputs,
        "latency_s": answer.latency_s,
        "epoch": answer.epoch,
        "hops": [hop._asdict() for hop in answer.hops],
        "transfers": [
            {"from": crossing.source, "to": crossing.target, "bytes": crossing.nbytes, "seconds": seconds}
            for crossing, seconds in transfers
        ],
    }


def print_logs(name: str, stage: str | None, limit: int, address: str | None, *, as_json: bool) -> None:
    """The last log lines of a deployment's stages, by time."""
    with joined(address) as client:
        status = client.status()
        if name not in status["deployments"]:
            raise UnknownDeployment(name, tuple(status["deployments"]))
        epochs = status["deployments"][name]["epochs"]
        nodes = dict.fromkeys(entry["node"] for epoch in epochs for entry in epoch["stages"])
        lines = [
            {"node": node, **line}
            for node in nodes
            for line in client.logs(node, deployment=name, stage=stage, limit=limit)
        ]
    if as_json:
        show_json(lines)
        return
    for line in lines:
        show(" ".join(f"{key}={value}" for key, value in line.items() if value not in (None, "")))


def delete_deployment(name: str, address: str | None, *, as_json: bool) -> None:
    """Drain and unload a deployment."""
    with joined(address) as client:
        client.delete(name)
    if as_json:
        show_json({"deleted": name})
    else:
        show(f"{name} is deleted")


def shut_down(address: str | None, *, as_json: bool) -> None:
    """End what `deploy` left running."""
    if address is None and local_cluster.remembered() is None:
        local_cluster.forget()
        message = "nothing runs on this machine"
    else:
        _end(address)
        message = "everything is shut down"
    if as_json:
        show_json({"shutdown": message})
    else:
        show(message)


def _end(address: str | None) -> None:
    """Shut a cluster down as it should be; this machine's own is ended even if it no longer answers."""
    cluster = local_cluster.remembered() if address is None else None
    try:
        joined(address).shutdown()
    finally:
        if cluster is not None:
            cluster.remove()
            local_cluster.forget()


def write_topology(address: str, output: Path, token_file: Path | None, *, as_json: bool) -> None:
    """Find labelled nodes, measure the links between them, and write the file."""
    token = token_of(token_file)
    with progress("measuring links"), Client(address, token=token) as client:
        topology = client.discover()
    plain = topology_to_plain(topology)
    if as_json:
        show_json(plain)
        return
    if output.exists():
        fail(f"{output} exists; give another file with --output")
    output.write_text(yaml.safe_dump(plain, sort_keys=False))
    show(f"{output}: {len(topology.nodes)} nodes, {len(topology.links)} links")
