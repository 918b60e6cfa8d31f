"""What the orchestrator can refuse or lose, each error with its facts in one line that names the way out."""


class OrchestratorError(Exception):
    """Root of this package's errors."""


class SpecError(OrchestratorError):
    """A topology or deployment file that cannot be used; the message starts with the file and the path in it."""


class UnknownDeployment(OrchestratorError):
    """No deployment of that name; `known` holds those that there are."""

    def __init__(self, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(f"no deployment {name!r}; there {_are(known)}")
        self.name = name
        self.known = known

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.known)


class UnknownVersion(OrchestratorError):
    """A deployment has no such version that answers; `known` holds those that do."""

    def __init__(self, name: str, version: int, known: tuple[int, ...] = ()) -> None:
        super().__init__(f"deployment {name!r} has no version {version} that answers; there {_are(known)}")
        self.name, self.version, self.known = name, version, known

    def __reduce__(self) -> tuple[type, tuple[str, int, tuple[int, ...]]]:
        return type(self), (self.name, self.version, self.known)


class DeploymentFailed(OrchestratorError):
    """A deployment that could not be brought up; nothing of it is left loaded."""


class RequestFailed(OrchestratorError):
    """A request that ended without an answer. `caller_fault`: sending it again as it is cannot help."""

    def __init__(self, message: str, *, caller_fault: bool = False) -> None:
        super().__init__(message)
        self.caller_fault = caller_fault


class Unavailable(RequestFailed):
    """A request refused because its deployment is draining; asking again after `retry_after_s` may find another."""

    retry_after_s = 1.0


class RequestTimeout(RequestFailed):
    """A request whose budget ran out."""


class StateLost(RequestFailed):
    """A step of a sequence found no state at a stage, to be made again; `alone`: workers that died with it alone."""

    def __init__(self, message: str, *, alone: int = 0) -> None:
        super().__init__(message)
        self.alone = alone


class VersionMismatch(OrchestratorError):
    """Ray or Python here and in the cluster differ in their minor version; both are named."""


class ClusterError(OrchestratorError):
    """The cluster lacks what a deployment needs: an address, a node's host, a worker."""


class JournalError(OrchestratorError):
    """The journal cannot be written or read: disk full, locked by another controller, or not a journal."""


class IllegalTransition(OrchestratorError):
    """Something happened that the transition table does not allow; carries the whole story of the entity."""

    def __init__(self, entity: str, state: str, verb: str, history: tuple[str, ...]) -> None:
        story = " → ".join(history) if history else "no history"
        super().__init__(f"{entity}: {verb!r} is not possible when {state!r}; its story: {story}")
        self.entity = entity
        self.state = state
        self.verb = verb
        self.history = history

    def __reduce__(self) -> tuple[type, tuple[str, str, str, tuple[str, ...]]]:
        return type(self), (self.entity, self.state, self.verb, self.history)


def _are(known: tuple[object, ...]) -> str:
    return "are none" if not known else f"{'is' if len(known) == 1 else 'are'} {', '.join(map(str, known))}"
