"""Which version a request goes to while two are side by side: a function of the request's key and the split alone.

Without state and without chance: every router that knows the split shares requests out in the same way, and the same
key always meets the same version. A larger weight only adds keys to the new version; none goes back and forth.
"""

from dataclasses import dataclass
from hashlib import blake2b

from orchestrator.rollout_terms import AB, SHADOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Part `weight` of the requests concerns epoch `epoch` beside the one in use; `step` counts anew with each change.

    `salt` makes each rollout share keys out differently.
    """

    epoch: int
    mode: str
    weight: float
    step: int = 0
    salt: str = ""

    @property
    def answers(self) -> bool:
        """Whether callers get answers of this epoch, or only copies are sent to it."""
        return self.mode != SHADOW


def share(key: str, salt: str = "") -> float:
    """A number in [0, 1), spread evenly over keys; always the same for a key and salt."""
    digest = blake2b(f"{salt} {key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)


def concerns(split: Split, request: str, key: str = "") -> bool:
    """Whether a request is for the new version, too: by its id, or where keys stick by its caller's key, if given."""
    return share(key if key and split.mode == AB else request, split.salt) < split.weight
