"""Whether durations are still what is expected of them: a sequential test for a change of a link. Pure, no clock.

Page's test (E. S. Page, Continuous Inspection Schemes, Biometrika 41, 1954; two-sided CUSUM) on standardised
lateness. A duration t against the expected e, with additive noise of a standard deviation n and relative spread s:

    u = log((t + 2n) / (e + 2n)),   z = u / sqrt(((s e)² + n²) / (e + 2n)² · (1 + π/2k))

a "started" logarithm (Tukey): relative where durations are long beside the noise, linear where they are not. k is how
many measurements stand behind e (a self-starting test, Hawkins 1987; π/2 as e comes from a median). z is clipped, so
that no single outlier fires; the sum of z − 1 above zero must reach 8, and the evidence be 0.2 s old, which 2 messages
far off do, 4 at three times the spread, 8 at twice. At normal noise that is known exactly, Siegmund's approximation
gives a false alarm in 20 million messages. The spread is followed as a quantile (Robbins & Monro 1951), by 1.5 % a
message, so no outlier moves it far.

What is still under way is a censored measurement: it takes at least as long as it has. It fires alone if it is late
by 0.25 s and a round trip, and by five standard deviations. So does what came that late, and what came that much too
early, as bytes that have crossed can't be explained away.
"""

import math
from dataclasses import dataclass

ALLOWANCE, LIMIT, CLIP, MOST = 1.0, 8.0, 5.0, 16.0
BEGUN = 1.5  # a change began when the sum left this behind; below, it is mostly jitter from before
FIRM = 6.0  # standard deviations by which a message that has crossed too fast fires alone
LATE = 5.0  # the same of one that is late by STALL_S
STALL_S = 0.25  # and by a round trip; what lasts less is a hiccup
HOLD_S = 0.2  # evidence this young may be one hiccup that several messages met
FIRST_SPREAD, LEAST_SPREAD, MOST_SPREAD = 0.3, 0.1, 0.7
STEP = 0.03
MEDIAN_Z = 0.6745


@dataclass(slots=True)
class DurationTest:
    """Fed with durations beside what was expected; says since when they have been longer or shorter."""

    spread: float = FIRST_SPREAD
    _slow: float = 0.0
    _fast: float = 0.0
    _slow_since_s: float = math.inf
    _fast_since_s: float = math.inf
    _firm: bool = False

    def note(
        self,
        took_s: float,
        expected_s: float,
        noise_s: float,
        *,
        began_s: float,
        known: int,
        late_s: float = math.inf,
        certain: bool = False,
    ) -> None:
        """A duration that began at `began_s`; `known` measurements stand behind the expected one.

        One that is late by `late_s` may fire alone; one that is early may if it is `certain` that it took no longer.
        """
        z, of_spread = self._standardised(max(took_s, 0.0), expected_s, noise_s, known)
        firm = (z < -FIRM and certain) or (z > LATE and took_s - expected_s >= late_s)
        clipped = math.copysign(LIMIT + ALLOWANCE, z) if firm else max(-CLIP, min(z, CLIP))
        self._firm = firm or (self._firm and self.suspects)
        if firm or self._slow < BEGUN:
            self._slow_since_s = began_s
        if firm or self._fast < BEGUN:
            self._fast_since_s = began_s
        self._slow = min(MOST, max(0.0, self._slow + clipped - ALLOWANCE))
        self._fast = min(MOST, max(0.0, self._fast - clipped - ALLOWANCE))
        self.spread *= math.exp(STEP * of_spread * ((abs(z) > MEDIAN_Z) - 0.5))
        self.spread = max(LEAST_SPREAD, min(self.spread, MOST_SPREAD))

    def changed_since_s(self, now_s: float) -> float | None:
        """When the durations that are not as expected began; None while the test holds."""
        for total, since_s in ((self._slow, self._slow_since_s), (self._fast, self._fast_since_s)):
            if total >= LIMIT and (self._firm or now_s - since_s >= HOLD_S):
                return since_s
        return None

    def overdue(self, elapsed_s: float, expected_s: float, noise_s: float, *, known: int, round_trip_s: float) -> bool:
        """Whether what has been under way for `elapsed_s` says by itself that durations are longer now."""
        if elapsed_s - expected_s < stall_s(round_trip_s):
            return False
        z, _ = self._standardised(elapsed_s, expected_s, noise_s, known)
        return z > LATE

    @property
    def suspects(self) -> bool:
        """Whether half the evidence for a change is there."""
        return max(self._slow, self._fast) >= LIMIT / 2

    @property
    def uneasy(self) -> bool:
        """Whether there is enough of it that what is expected should not follow the newest durations."""
        return max(self._slow, self._fast) >= BEGUN

    def restart(self) -> None:
        """Forget the evidence, keep the spread: the expected duration is another now."""
        self._slow = self._fast = 0.0
        self._firm = False

    def _standardised(self, took_s: float, expected_s: float, noise_s: float, known: int) -> tuple[float, float]:
        """How far off, in standard deviations; and how much of these is spread rather than noise."""
        start_s = 2 * noise_s
        spread, noise = (self.spread * expected_s) ** 2, noise_s**2
        deviation = math.sqrt((spread + noise) * (1 + math.pi / 2 / max(known, 1))) / (expected_s + start_s)
        return math.log((took_s + start_s) / (expected_s + start_s)) / deviation, spread / (spread + noise)


def stall_s(round_trip_s: float) -> float:
    """By how much something must be late to count alone."""
    return max(STALL_S, round_trip_s)
