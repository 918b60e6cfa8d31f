"""A Python script as a job: by Ray Jobs where the cluster has its dashboard, else as this driver's own process.

A script begins once: nobody knows how far one got that was killed, so the job has FAILED then. Ray Jobs' own go on
without their driver, which joins them again.
"""

import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray

from orchestrator import ray_shell
from orchestrator.jobs.errors import JobError, Stopped
from orchestrator.jobs.ledger import STOP, Ledger
from orchestrator.jobs.terms import Cluster, JobTerms

LOOK_S = 0.25
PATIENCE_S = 3.0  # from asking a script to end to killing it, as Ray Jobs has it
AWAY_S = 60.0  # for Ray Jobs to answer again
# The script dies with its driver, however that dies: prctl(PR_SET_PDEATHSIG, SIGKILL).
_TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
_log = logging.getLogger("isthmus.job")


def run_script(ledger: Ledger, terms: JobTerms, cluster: Cluster, *, is_again: bool) -> str:
    """Run it to its end. Stopped; JobError where it fails or was killed."""
    by_ray = ledger.fact("ray job")
    if is_again and by_ray is None and ledger.fact("script") is not None:
        raise JobError(f"{terms.script}: it was killed with its driver; submit it again under another name")
    client, until_s = ray_jobs(cluster), time.monotonic() + AWAY_S
    while client is None and by_ray is not None:  # which run it already: it must not be run here, too
        if time.monotonic() > until_s:
            raise JobError(f"Ray Jobs, which run {terms.script} as {by_ray}, do not answer")
        time.sleep(1.0)
        client = ray_jobs(cluster)
    if client is None:
        return _run_here(ledger, terms, cluster)
    if by_ray is None:
        command = shlex.join([sys.executable, terms.script, *terms.arguments])
        command = f"cd {shlex.quote(terms.folder)} && {command}"
        by_ray = f"isthmus-{terms.name}-{uuid4().hex[:8]}"  # a job of that name may have been there before
        ledger.note("ray job", by_ray)
        _log.info("Ray Jobs run it as %s: %s", by_ray, command)
        client.submit_job(entrypoint=command, submission_id=by_ray)
    return _follow(ledger, terms, client, by_ray)


def ray_jobs(cluster: Cluster) -> Any:
    """Ray Jobs' client; None where the cluster has no dashboard, which it needs."""
    ray_shell.connect(cluster.address)
    url = ray._private.worker.get_dashboard_url()
    ray.shutdown()
    if not url:
        return None
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(f"http://{url}")
    except (RuntimeError, ConnectionError) as error:
        _log.info("Ray's dashboard at %s does not answer: %s", url, " ".join(str(error).split())[:200])
        return None


def _follow(ledger: Ledger, terms: JobTerms, client: Any, name: str) -> str:
    shown, heard_s = 0, time.monotonic()
    while True:
        is_wished = ledger.fact(STOP) is not None
        try:
            if is_wished:
                client.stop_job(name)
            info = client.get_job_info(name)
            text = client.get_job_logs(name)
            heard_s = time.monotonic()
        except (RuntimeError, ConnectionError, OSError) as error:
            if time.monotonic() - heard_s > AWAY_S:
                raise JobError(f"Ray Jobs tells nothing of {name}: {' '.join(str(error).split())[:200]}") from None
            time.sleep(1.0)
            continue
        sys.stderr.write(text[shown:])
        sys.stderr.flush()
        shown = max(shown, len(text))
        match str(info.status):
            case "SUCCEEDED":
                return "its script ended with status 0"
            case "STOPPED":
                raise Stopped
            case "FAILED":
                raise JobError(f"{terms.script}: {' '.join(str(info.message).split())[:200]}")
        time.sleep(LOOK_S)


def _run_here(ledger: Ledger, terms: JobTerms, cluster: Cluster) -> str:
    ledger.note("script", terms.script)
    inherited = {key: value for key, value in os.environ.items() if key != "RAY_RAYLET_PID"}  # driver.py's own
    environ = inherited | {"RAY_ADDRESS": cluster.address, "ISTHMUS_JOB": terms.name, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", _TIED, sys.executable, terms.script, *terms.arguments]
    if not Path(terms.folder).is_dir():
        raise JobError(f"{terms.folder}: no such folder to run {terms.script} in")
    with subprocess.Popen(
        command, cwd=terms.folder, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    ) as process:
        while (status := process.poll()) is None:
            if ledger.fact(STOP) is not None:
                _end(process)
                raise Stopped
            time.sleep(LOOK_S)
    if status:
        ended = f"signal {-status}" if status < 0 else f"status {status}"
        raise JobError(f"{terms.script} ended with {ended}; see: isthmus jobs logs {terms.name}")
    return "its script ended with status 0"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, with all that it started; then make it."""
    for number, patience_s in ((signal.SIGTERM, PATIENCE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
