"""Who may tell this worker what to run: the controller that claimed it first, proven by its secret."""

import hmac
from hashlib import sha256

from nodes.errors import NotAuthorised


class Claim:
    """At most one controller. A claim with the same secret re-adopts the worker, after a restart too."""

    def __init__(self) -> None:
        self.controller: str | None = None
        self._digest = b""

    def take(self, controller: str, secret: str) -> None:
        """Claim or re-adopt. NotAuthorised without a secret, or with another than the first."""
        if not secret:
            raise NotAuthorised("a claim needs a secret; the worker will take stages from whoever knows it")
        digest = sha256(secret.encode()).digest()
        if self.controller is not None and not hmac.compare_digest(digest, self._digest):
            raise NotAuthorised(f"the worker is claimed by controller {self.controller!r}; give its secret")
        self.controller, self._digest = controller, digest

    def check(self, secret: str) -> None:
        """NotAuthorised unless `secret` is the claimant's."""
        if self.controller is None:
            raise NotAuthorised("nobody has claimed this worker; claim it first")
        if not hmac.compare_digest(sha256(secret.encode()).digest(), self._digest):
            raise NotAuthorised(f"only controller {self.controller!r} that claimed this worker may do this")
