"""What a rollout was agreed on: how requests are shared, and what the new version must not do. Values only."""

from collections.abc import Sequence
from dataclasses import dataclass

from nodes.errors import BadInput

CANARY, AB, SHADOW = "canary", "ab", "shadow"
MODES = (CANARY, AB, SHADOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutTerms:
    """Terms of a rollout; tolerances as in `policies.rollout.judge`.

    `mode`: "canary" (requests are shared by chance), "ab" (by their key, so that a key keeps its version) or "shadow"
    (copies of requests, whose answers nobody gets). `weights` are parts of the requests, each once the one before it
    was judged good; with `promotes` the new version takes over after the last, else somebody has to say so.
    """

    mode: str = CANARY
    weights: tuple[float, ...] = (0.1,)
    promotes: bool = True
    max_error_rate: float = 0.01
    max_slowdown: float = 1.2
    max_drift: float | None = 0.1
    max_disagreement: float | None = None
    min_requests: int = 100
    min_s: float = 10.0

    def __post_init__(self) -> None:
        """BadInput for terms that cannot be kept."""
        if self.mode not in MODES:
            raise BadInput(f"no rollout mode {self.mode!r}; known are {', '.join(MODES)}")
        if not self.weights or not all(0 < weight <= 1 for weight in self.weights):
            raise BadInput(f"weights {self.weights} must be parts of the requests, above 0 and up to 1")
        if any(after <= before for before, after in zip(self.weights, self.weights[1:], strict=False)):
            raise BadInput(f"weights {self.weights} must grow from step to step")
        if self.mode != SHADOW and self.weights[-1] == 1:
            raise BadInput("with all requests on the new version there is nothing to compare it with; end below 100 %")
        if self.max_slowdown < 1 or self.max_error_rate < 0 or self.min_requests < 1 or self.min_s < 0:
            raise BadInput("max_slowdown is at least 1, min_requests at least 1, max_error_rate and min_s not negative")


def terms_of(
    *,
    canary: Sequence[float],
    ab: float | None,
    shadow: float | None,
    promotes: bool | None,
    max_error_rate: float,
    max_slowdown: float,
    max_drift: float,
    max_disagreement: float,
    min_requests: int,
    min_s: float,
) -> RolloutTerms:
    """Terms as a command line gives them: shares in per cent, one mode at most, negative tolerances for none.

    Only a canary promotes itself unless `promotes` says otherwise. BadInput for what cannot be.
    """
    if (len(canary) > 0) + (ab is not None) + (shadow is not None) > 1:
        raise BadInput("a rollout is a canary, or ab, or a shadow: give one of --canary, --ab and --shadow")
    mode, shares = CANARY, list(canary) or [10.0]
    if ab is not None:
        mode, shares = AB, [ab]
    if shadow is not None:
        mode, shares = SHADOW, [shadow]
    return RolloutTerms(
        mode=mode,
        weights=tuple(share / 100 for share in shares),
        promotes=mode == CANARY if promotes is None else promotes,
        max_error_rate=max_error_rate,
        max_slowdown=max_slowdown,
        max_drift=None if max_drift < 0 else max_drift,
        max_disagreement=None if max_disagreement < 0 else max_disagreement,
        min_requests=min_requests,
        min_s=min_s,
    )


def told(mode: str, weight: float) -> str:
    """The sharing in words."""
    part = f"{weight:.3g}" if weight == 1 else f"{weight * 100:.3g} %"
    return {
        CANARY: f"{part} of the requests go to it",
        AB: f"{part} of the keys go to it",
    }.get(mode, f"{'every request is' if weight == 1 else part + ' of the requests are'} also sent to it")
