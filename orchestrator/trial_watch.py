"""What a router sees of a version on trial: it counts both versions, sends copies and compares their answers.

Copies are requests that nobody waits for. At most MOST_COPIES are out; one that fails or is late delays and fails no
answer. In shadow mode they go to the new version, which is judged by them; else requests that the new version answers
are copied to the old one, only to compare. It sends nothing itself and knows the time from its caller.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nodes.backend import Array
from orchestrator.actions import Action, Cancel, Deliver, Release, Send
from orchestrator.answers import Waiting
from orchestrator.splitting import Split, concerns
from policies.rollout import Tally, bucket

MOST_COPIES = 8
PATIENCE_S = 30.0
MOST_COMPARED = 1 << 20  # elements of a tensor: comparing must not hold up requests
WORST = 10.0  # differences are counted up to ten times the answer
COPY = "copy-"
NO_FAULT = ("waited", "cancelled", "hurried", "unsent")  # why attempts end that no version is to blame for


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    compared: int = 0
    drift_sum: float = 0.0
    drift_max: float = 0.0
    disagreed: float = 0.0

    def tally(self) -> Tally:
        return Tally(
            answered=self.answered,
            failed=tuple(sorted(self.failed.items())),
            latencies=tuple(sorted(self.latencies.items())),
            compared=self.compared,
            drift_sum=self.drift_sum,
            drift_max=self.drift_max,
            disagreed=self.disagreed,
        )


@dataclass(slots=True)
class _Copy:
    epoch: int
    sent_s: float
    missing: list[str]
    outputs: dict[str, Array] = field(default_factory=dict)
    answer: Mapping[str, Array] | None = None  # what the caller got
    is_told: bool = False  # the caller got its answer, or none


class TrialWatch:
    """The counts of one step of a trial at one router. First attempts count, each once: answered or failed."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self._old, self._new = _Counts(), _Counts()
        self._out: dict[str, tuple[int, float]] = {}  # first attempts under way: epoch and when
        self._copies: dict[str, _Copy] = {}

    def tallies(self) -> tuple[Tally, Tally]:
        """The old version's and the new one's, since this step began."""
        return self._old.tally(), self._new.tally()

    def note(self, actions: tuple[Action, ...], why: str, waiting: Mapping[str, Waiting], now_s: float) -> None:
        """What the routing core wants done, before it is; `why` attempts among that are ended, `waiting` requests."""
        for action in actions:
            match action:
                case Send(attempt=1):
                    self._out[action.request] = action.epoch, now_s
                case Cancel(attempt=1) if (out := self._out.pop(action.request, None)) is not None:
                    if why not in NO_FAULT:
                        self._of(out[0]).failed[why] += 1
                case Deliver(request=request, attempt=attempt):
                    if (out := self._out.pop(request, None)) is not None:
                        self._answered(self._of(out[0]), now_s - out[1])
                    self._told(request, waiting[request].outputs[attempt], attempt)
                case Release(request=request):
                    self._out.pop(request, None)
                    self._told(request, None, 0)

    def copy(
        self,
        request: str,
        key: str,
        stable: int | None,
        outputs: Mapping[int, tuple[str, ...]],
        now_s: float,
    ) -> Send | None:
        """The copy of a request that was just taken in, if one is to be sent.

        `stable` is the epoch of the old version, `outputs` what each epoch answers with.
        """
        target: int | None = self.split.epoch
        if self.split.answers:
            target = stable if self._out.get(request, (None,))[0] == self.split.epoch else None
        elif not concerns(self.split, request, key):
            target = None
        if target is None or target not in outputs or len(self._copies) >= MOST_COPIES:
            return None
        self._copies[COPY + request] = _Copy(target, now_s, list(outputs[target]))
        return Send(request=COPY + request, attempt=1, epoch=target, budget_s=PATIENCE_S)

    def came(self, copy: str, outputs: Mapping[str, Array], now_s: float) -> None:
        """Outputs of a copy have come."""
        held = self._copies.get(copy)
        if held is None:
            return
        held.outputs |= outputs
        held.missing = [name for name in held.missing if name not in outputs]
        if held.missing:
            return
        if held.epoch == self.split.epoch:
            self._answered(self._new, now_s - held.sent_s)
        self._compare(copy, held)

    def failed(self, copy: str, why: str) -> None:
        """A copy was not answered; it counts if the new version is judged by copies."""
        held = self._copies.pop(copy, None)
        if held is not None and held.missing and held.epoch == self.split.epoch:
            self._new.failed[why] += 1

    def _told(self, request: str, answer: Mapping[str, Array] | None, attempt: int) -> None:
        """The caller of a request got this; of a later attempt, or none, there is nothing to compare."""
        held = self._copies.get(COPY + request)
        if held is not None and not held.is_told:
            held.answer, held.is_told = (answer if attempt == 1 else None), True
            self._compare(COPY + request, held)

    def expire(self, now_s: float) -> None:
        """Give copies up that are out for too long."""
        for name in [name for name, held in self._copies.items() if now_s - held.sent_s >= PATIENCE_S]:
            self.failed(name, "RequestTimeout")

    def _of(self, epoch: int) -> _Counts:
        return self._new if epoch == self.split.epoch else self._old

    def _answered(self, counts: _Counts, took_s: float) -> None:
        counts.answered += 1
        counts.latencies[bucket(took_s)] += 1

    def _compare(self, copy: str, held: _Copy) -> None:
        """Once both answers are there; without an answer to the caller there is nothing to compare."""
        if held.missing or not held.is_told:
            return
        del self._copies[copy]
        if held.answer is None:
            return
        old, new = (held.outputs, held.answer) if self.split.answers else (held.answer, held.outputs)
        drift, disagreement = difference(old, new)
        self._new.compared += 1
        self._new.drift_sum += drift
        self._new.drift_max = max(self._new.drift_max, drift)
        self._new.disagreed += disagreement


def difference(old: Mapping[str, Array], new: Mapping[str, Array]) -> tuple[float, float]:
    """How far two answers differ: the largest relative error of a tensor, and the part of labels that are others.

    The error is ‖new − old‖ / ‖old‖ in the Euclidean norm, WORST at most; WORST and 1 for answers that cannot be
    compared, as their names or shapes differ. A label is the position of the largest element along the last axis.
    """
    if old.keys() != new.keys() or any(old[name].shape != new[name].shape for name in old):
        return WORST, 1.0
    drifts, others, labels = [0.0], 0, 0
    for name, before in old.items():
        one = before.reshape(-1)[:MOST_COMPARED].astype(np.float64)
        two = new[name].reshape(-1)[:MOST_COMPARED].astype(np.float64)
        error, size = float(np.linalg.norm(two - one)), float(np.linalg.norm(one))
        drift = error / size if size else (WORST if error else 0.0)
        drifts.append(min(drift, WORST) if np.isfinite(drift) else WORST)
        wide = before.shape[-1] if before.ndim else 1
        if wide > 1:
            rows = len(one) // wide
            row_labels = [flat[: rows * wide].reshape(rows, wide).argmax(axis=1) for flat in (one, two)]
            others, labels = others + int((row_labels[0] != row_labels[1]).sum()), labels + rows
    return max(drifts), others / labels if labels else 0.0
