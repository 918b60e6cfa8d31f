"""`isthmus jobs`: datasets through deployments, and scripts, by processes that go on when the command is over."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from isthmus.terminal import errors, show, show_json
from isthmus.verbs.cluster import joined
from orchestrator.client import Client
from orchestrator.jobs.terms import JobStatus


def submit_dataset(
    data: Path,
    output: Path,
    deployment: str | None,
    spec: Path | None,
    name: str | None,
    address: str | None,
    *,
    in_flight: int,
    timeout_s: float,
    wait: bool,
    as_json: bool,
) -> int:
    """Submit it; the exit status: 1 if it was waited for and has not succeeded."""
    with joined(address) as client:
        found = client.jobs.submit(
            data, output, deployment=deployment, spec=spec, name=name, in_flight=in_flight, timeout_s=timeout_s
        )
        return _told(client, found, wait=wait, as_json=as_json)


def submit_script(
    script: Path, arguments: Sequence[str], name: str | None, address: str | None, *, wait: bool, as_json: bool
) -> int:
    """As submit_dataset, of a script that runs in the folder where this command does."""
    with joined(address) as client:
        found = client.jobs.submit_script(script, arguments, name=name)
        return _told(client, found, wait=wait, as_json=as_json)


def _told(client: Client, name: str, *, wait: bool, as_json: bool) -> int:
    status = _waited(client, name) if wait else client.jobs.status(name)
    if as_json:
        show_json(status.plain())
    elif wait:
        _show(status)
    else:
        show(f"job {name} is submitted; see how it stands with: isthmus jobs status {name}")
    return 1 if wait and status.state != "SUCCEEDED" else 0


def _waited(client: Client, name: str) -> JobStatus:
    if not errors.is_terminal:
        return client.jobs.wait(name)
    with errors.status(f"job {name}") as line:
        return client.jobs.wait(name, say=lambda status: line.update(f"job {name}: {progress_line(status)}"))


def progress_line(status: JobStatus) -> str:
    """How far a job is, in a line."""
    parts = [status.state]
    if status.total is not None:
        parts.append(f"{status.done} of {status.total} items")
    if status.failed:
        parts.append(f"{status.failed} failed")
    if status.rate_per_s is not None:
        parts.append(f"{status.rate_per_s:.3g} a second")
    if status.eta_s is not None and not status.is_over:
        parts.append(f"{_duration(status.eta_s)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def print_list(address: str | None, *, as_json: bool) -> None:
    """A row a job."""
    with joined(address) as client:
        found = client.jobs.list()
    if as_json:
        show_json([status.plain() for status in found])
        return
    table = Table("job", "state", "progress", "what", box=None, pad_edge=False)
    for status in found:
        what = status.terms.script or f"{status.terms.data} → {status.terms.output}"
        table.add_row(status.name, status.state, progress_line(status).partition(", ")[2], what)
    show(table if found else "no jobs")


def print_job(name: str, address: str | None, *, as_json: bool) -> None:
    """How a job stands."""
    with joined(address) as client:
        status = client.jobs.status(name)
    if as_json:
        show_json(status.plain())
    else:
        _show(status)


def _show(status: JobStatus) -> None:
    show(f"job {status.name}: {progress_line(status)}")
    if status.why:
        show(status.why)
    if status.restarts:
        show(f"drivers that took over from one that died: {status.restarts}")
    if status.state == "SUCCEEDED" and status.terms.output:
        show(f"its output is {status.terms.output}")
    for item, reason in status.failures:
        show(f"failed: {item}: {reason}")
    if status.failed > len(status.failures):
        show(f"and {status.failed - len(status.failures)} more, all of which its output lists")


def print_job_logs(name: str, address: str | None, *, as_json: bool) -> None:
    """What it said."""
    with joined(address) as client:
        text = client.jobs.logs(name)
    if as_json:
        show_json({"name": name, "logs": text})
    else:
        show(text.rstrip("\n"))


def stop_job(name: str, address: str | None, *, as_json: bool) -> None:
    """Stop it, and say how it stands."""
    with joined(address) as client:
        status = client.jobs.stop(name)
    if as_json:
        show_json(status.plain())
    else:
        show(f"job {name}: {progress_line(status)}" + ("" if status.is_over else "; it stops soon"))


def delete_job(name: str, address: str | None, *, as_json: bool) -> None:
    """Forget it."""
    with joined(address) as client:
        client.jobs.delete(name)
    if as_json:
        show_json({"deleted": name})
    else:
        show(f"job {name} is deleted")
