"""What a dataset job has for itself, and how it ends."""

import re

from orchestrator.jobs.run import own_deployment
from orchestrator.topology_spec import NAME


def test_no_two_jobs_have_one_deployment() -> None:
    jobs = ["mine", *("a" * length for length in range(57, 64)), "a" * 62 + "b"]
    made = [own_deployment(job) for job in jobs]
    jobs += [name[4:] for name in made if name[4:] not in jobs]  # named after what others have
    names = {own_deployment(job) for job in jobs}
    assert len(names) == len(jobs) and all(re.match(NAME, name) for name in names)
    assert made[:2] == ["job-mine", "job-" + "a" * 57]
