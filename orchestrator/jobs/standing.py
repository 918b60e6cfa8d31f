"""How a job stands, read from its ledger."""

from orchestrator.jobs import lock
from orchestrator.jobs.ledger import Ledger
from orchestrator.jobs.progress import WINDOW_S, Progress, progress
from orchestrator.jobs.terms import JobStatus
from orchestrator.states import JOB_ENDS


def status_of(ledger: Ledger, now_s: float, *, failures: int) -> JobStatus:
    """The job's status, with the first so many of its failures."""
    steps = ledger.steps()
    starts = [step.at_s for step in steps if step.verb == "start"]
    total, done, failed = ledger.counts()
    last, found = steps[-1], Progress(rate_per_s=None, eta_s=None)
    if last.state == "RUNNING" and total is not None:
        lately = ledger.ended_since(max(now_s - WINDOW_S, starts[-1]))
        found = progress(total=total, done=done, lately=lately, since_s=starts[-1], now_s=now_s)
    elif last.state == "SUCCEEDED" and done:
        found = Progress(rate_per_s=done / max(1e-9, last.at_s - starts[0]), eta_s=None)
    terms = ledger.terms()
    return JobStatus(
        name=terms.name,
        state=last.state,
        why=last.why,
        terms=terms,
        submitted_s=steps[0].at_s,
        started_s=starts[0] if starts else None,
        ended_s=last.at_s if last.state in JOB_ENDS else None,
        total=total,
        done=done,
        failed=failed,
        rate_per_s=found.rate_per_s,
        eta_s=found.eta_s,
        restarts=max(0, len(starts) - 1),
        driver_pid=lock.holder(ledger.folder) or None,
        failures=tuple(ledger.failures(failures)) if failures else (),
    )


def outcome(ledger: Ledger) -> str:
    """What became of a dataset that was gone through, in a line."""
    total, _, failed = ledger.counts()
    return f"{total} items, {failed} failed" if failed else f"{total} items"
