"""What a job can be refused for, or end by, each in one line that names the thing and the way out."""

from orchestrator.errors import OrchestratorError


class JobError(OrchestratorError):
    """A job that cannot be submitted, stopped or deleted as asked, or that cannot go on."""


class Stopped(Exception):
    """Somebody wishes the job to stop: how it ends, not a fault."""


class UnknownJob(JobError):
    """No job of that name; `known` holds those that there are."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        are = "are none" if not known else f"{'is' if len(known) == 1 else 'are'} {', '.join(known)}"
        super().__init__(f"no job {name!r}; there {are}")
        self.name, self.known = name, known

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.known)
