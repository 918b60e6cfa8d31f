"""A dataset job from its first item to its output, or what is left of that."""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nodes.memory import keep_memory
from orchestrator.bond import AWAY, Bond
from orchestrator.errors import ClusterError, DeploymentFailed, OrchestratorError, UnknownDeployment
from orchestrator.handing_over import handed_over
from orchestrator.jobs.answering import answer_items
from orchestrator.jobs.dataset import Dataset, open_dataset
from orchestrator.jobs.errors import JobError, Stopped
from orchestrator.jobs.ledger import OWN, STOP, Ledger
from orchestrator.jobs.output import discard, is_published, publish
from orchestrator.jobs.standing import outcome
from orchestrator.jobs.terms import Cluster, JobTerms
from orchestrator.spec import load_spec

MOST = 63  # characters of a deployment's name
GONE = (None, "deleted")
PAUSE_S = 1.0  # between attempts to reach a controller that is away
_log = logging.getLogger("isthmus.job")


def own_deployment(job: str) -> str:
    """The name of the deployment that a job has for itself, no other job's: one that is too long is cut.

    What is cut begins with `job_` and ends with a digest: it is not what a job of another name has uncut.
    """
    name = f"job-{job}"
    return name if len(name) <= MOST else f"job_{job[: MOST - 21]}-{sha256(job.encode()).hexdigest()[:16]}"


def run_dataset(ledger: Ledger, terms: JobTerms, cluster: Cluster) -> str:
    """Do it; what became of it, in a line. Stopped; an OrchestratorError where it can't go on."""
    keep_memory()
    output, bond = Path(terms.output), None
    try:
        if is_published(ledger, output, terms.name):  # whatever is wished, or there, by now
            publish(ledger, output, terms.name)
            return outcome(ledger)
        if ledger.fact(STOP) is not None:
            raise Stopped
        dataset = _listed(ledger, terms)
        if ledger.left():
            bond = _tied(ledger, cluster)
            name = _deployed(bond, ledger, terms) if terms.spec else terms.deployment
            answer_items(bond, ledger, terms, dataset, name)
        total, _, failed = ledger.counts()
        if failed == total:
            raise JobError(f"none of {total} items was answered; the first: {': '.join(ledger.failures(1)[0])}")
        publish(ledger, output, terms.name)
        return outcome(ledger)
    except (Stopped, OrchestratorError):
        discard(ledger, output, terms.name)
        raise
    finally:  # but for what ends the process: the next driver does it then
        if own := ledger.fact(OWN):
            _withdrawn(bond or _tied(None, cluster), own)
            ledger.note(OWN, "")


def _listed(ledger: Ledger, terms: JobTerms) -> Dataset:
    """The dataset, its items noted. JobError if it is another one than at the job's begin."""
    dataset = open_dataset(Path(terms.data))
    mark = ledger.fact("dataset")
    if mark is None:
        ledger.list_items(dataset.ids(), dataset.mark)
        if left_out := getattr(dataset, "left_out", 0):
            _log.info("%d files of %s are neither pictures nor recordings: left out", left_out, terms.data)
    elif mark != dataset.mark:
        raise JobError(f"{terms.data} has changed since the job began; submit a new job")
    return dataset


def _tied(ledger: Ledger | None, cluster: Cluster) -> Bond:
    """A tie to the controller, waited for as long as it takes. Stopped, where a ledger says so meanwhile."""
    settings = {"folder": cluster.folder, "emulated": cluster.emulated, "token": None}
    while True:
        try:
            return Bond(cluster.address, None, settings)
        except AWAY as error:
            _log.info("the controller is away: %s", " ".join(str(error).split())[:200])
        if ledger is not None and ledger.fact(STOP) is not None:
            raise Stopped
        time.sleep(PAUSE_S)


def _deployed(bond: Bond, ledger: Ledger, terms: JobTerms) -> str:
    """The job's own deployment, up. DeploymentFailed; JobError where somebody else has one of its name; Stopped."""
    name = own_deployment(terms.name)
    spec = replace(load_spec(Path(terms.spec)), name=name)
    if ledger.fact(OWN) is None:  # begun by a version that noted none: what bears the job's name is its own
        ledger.note(OWN, name)
    while ledger.fact(STOP) is None:
        try:
            state = _state(bond, name)
            if state not in (*GONE, "deleting") and not ledger.fact(OWN):
                raise JobError(f"there is a deployment {name!r} that is not this job's; give the job another name")
            if state == "running":
                return name
            if state == "failed":
                raise DeploymentFailed(f"{terms.spec}: its deployment failed before; see isthmus status")
            if state in GONE:
                _log.info("deploying %s as %s", terms.spec, name)
                path, samples = handed_over(bond, spec)
                ledger.note(OWN, name)
                bond.ask("deploy", spec, path, samples, None, None)
                return name
        except ClusterError as error:  # the controller is away, or comes back and goes on with it
            _log.info("deploying %s: %s", name, error)
            bond.renew()
        time.sleep(PAUSE_S)
    raise Stopped


def _state(bond: Bond, name: str) -> str | None:
    found: dict[str, Any] = bond.ask("status")["deployments"]
    return str(found[name]["state"]) if name in found else None


def _withdrawn(bond: Bond, name: str) -> None:
    """The job's own deployment, gone: waited for as long as it takes."""
    while True:
        with suppress(UnknownDeployment):
            try:
                if _state(bond, name) not in GONE:
                    bond.ask("delete", name)
            except ClusterError as error:
                _log.info("deleting %s: %s", name, error)
                time.sleep(PAUSE_S)
                bond.renew()
                continue
        return
