"""The process that does one job: `python -m orchestrator.jobs.driver --state=FOLDER --address=HOST:PORT …`.

It is nobody's child, so it outlives Ray's head; it holds the job's lock, so there is one at a time; all that it must
not forget is in the ledger, so it may die at any instant. The desk (desk.py) starts another one then.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.jobs import lock
from orchestrator.jobs.errors import Stopped
from orchestrator.jobs.ledger import OWN, Ledger
from orchestrator.jobs.terms import Cluster, JobTerms
from orchestrator.outliving import outlive_parents

LOCK_S = 2.0  # somebody may look at the lock at this very moment
_log = logging.getLogger("isthmus.job")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job whose folder is given, from where it is. 0: it is over, or another driver is at it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--emulated", action="store_true")
    given = parser.parse_args(arguments)
    outlive_parents()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    until_s = time.monotonic() + LOCK_S
    while time.monotonic() < until_s:
        with lock.held(given.state) as is_ours:
            if is_ours:
                with Ledger(given.state) as ledger:
                    cluster = Cluster(address=given.address, folder=given.folder, emulated=given.emulated)
                    drive(ledger, cluster)
                return 0
        time.sleep(0.05)
    return 0


def drive(ledger: Ledger, cluster: Cluster) -> None:
    """Do what is left of the job, and note how it ended."""
    if ledger.is_over:
        return
    terms, starts = ledger.terms(), sum(step.verb == "start" for step in ledger.steps())
    if not starts:
        ledger.note(OWN, "")  # known to have none; where nothing is noted, a version that noted none began the job
    ledger.step("start", "begins" if not starts else "a new driver goes on where the one before died")
    _log.info("job %s: %s", terms.name, ledger.steps()[-1].why)
    try:
        why = _work(ledger, terms, cluster, is_again=starts > 0)
    except Stopped:
        ledger.step("stop", "as it was asked to")
    except OrchestratorError as error:
        ledger.step("fail", " ".join(str(error).split()))
    else:
        ledger.step("succeed", why)
    _log.info("job %s: %s %s", terms.name, ledger.state, ledger.steps()[-1].why)


def _work(ledger: Ledger, terms: JobTerms, cluster: Cluster, *, is_again: bool) -> str:
    if terms.kind == "script":
        from orchestrator.jobs.script import run_script

        return run_script(ledger, terms, cluster, is_again=is_again)
    from orchestrator.jobs.run import run_dataset

    return run_dataset(ledger, terms, cluster)


if __name__ == "__main__":
    sys.exit(main())
