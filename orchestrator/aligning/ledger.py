"""What became of each modality's items: every one of them is counted once, or still waits."""

from dataclasses import dataclass, field
from typing import Literal

Fate = Literal["used", "thinned", "late", "unmatched", "expired", "overflowed"]
FATES: tuple[Fate, ...] = ("used", "thinned", "late", "unmatched", "expired", "overflowed")


@dataclass(slots=True)
class Counts:
    """Of one modality. used: in a request at least; thinned: under overload; late: whom it belonged to had gone;
    unmatched: no partner came, or none asked; expired: not asked within the deadline; overflowed: too many were held.
    """

    came: int = 0
    used: int = 0
    thinned: int = 0
    late: int = 0
    unmatched: int = 0
    expired: int = 0
    overflowed: int = 0

    @property
    def ended(self) -> int:
        """Those that wait no more."""
        return sum(getattr(self, fate) for fate in FATES)


@dataclass(slots=True)
class Ledger:
    """By modality. Of requests: how many were asked, and how many of these without a modality or with an old item."""

    items: dict[str, Counts] = field(default_factory=dict)
    asked: int = 0
    without: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)

    def of(self, modality: str) -> Counts:
        """One modality's counts."""
        return self.items.setdefault(modality, Counts())

    def ended(self, modality: str, fate: Fate) -> None:
        """An item has come to its end."""
        counts = self.of(modality)
        setattr(counts, fate, getattr(counts, fate) + 1)
