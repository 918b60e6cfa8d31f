"""What a radio link takes before and between its bits: waiting for slots and grants, handovers, and waking up.

Grants: a user with something to send waits for its next chance to ask (scheduling request), the station answers with
slots some time ahead, and both happen only in slots that go the right way (3GPP TS 38.214, 6.1; 38.213, 9.2.4).
Interruptions and promotion are as measured on commercial networks, see `Generation`.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from simulations.errors import OutOfRange
from simulations.radio.carrier import Carrier
from simulations.radio.path_loss import Floats

PATTERN_SLOTS = 5  # DDDSU: one slot in five goes up
PROCESSING_SLOTS = 3  # of the station, from request to grant, and of the user, from grant to data, together
TABLE = 1024  # waking times that are drawn
IDLE_S = 10.0  # of silence, after which the radio idles


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A kind of network: how long a handover interrupts (preparation, random access) and how long waking up takes.

    Seconds, as measured by Hassan et al., Vivisecting Mobility Management in 5G Cellular Networks (SIGCOMM 2022), and
    Narayanan et al., A Variegated Look at 5G in the Wild (SIGCOMM 2021); waking is uniform between its two ends.
    """

    name: str
    prepare_s: float
    access_s: float
    wake_s: tuple[float, float] = (0.25, 0.3)

    @property
    def handover_s(self) -> float:
        """No bit passes for so long."""
        return self.prepare_s + self.access_s


LTE = Generation(name="LTE", prepare_s=0.019, access_s=0.015)
NSA = Generation(name="NSA", prepare_s=0.033, access_s=0.013)
SA = Generation(name="SA", prepare_s=0.054, access_s=0.012)
GENERATIONS = {one.name: one for one in (LTE, NSA, SA)}


def grant_s(carrier: Carrier, many: int, draw: np.random.Generator, *, request_every: int = 1) -> Floats:
    """What so many first packets up wait until they are sent: uniform over the time to the next request, then fixed.

    `request_every`: a user may ask in each so manieth slot that goes up. OutOfRange if that is below 1.
    """
    if request_every < 1:
        raise OutOfRange(f"a request every {request_every} slots: from 1")
    up_every = 1 if carrier.up_share == 1 else PATTERN_SLOTS
    ahead = up_every * int(np.ceil((1 + PROCESSING_SLOTS) / up_every))  # the first slot up that is late enough
    return np.asarray((draw.random(many) * up_every * request_every + ahead) * carrier.slot_s)


def slot_wait_s(carrier: Carrier, many: int, draw: np.random.Generator) -> Floats:
    """What so many packets down wait for a slot that goes down: nothing but that slot's begin where all of them do."""
    if carrier.down_share == 1:
        return np.asarray(draw.random(many) * carrier.slot_s)
    came = draw.random(many) * PATTERN_SLOTS  # slots 0 to 3 go down, the last one up
    return np.asarray(np.where(came < PATTERN_SLOTS - 2, np.ceil(came) - came, PATTERN_SLOTS - came) * carrier.slot_s)


class Radios:
    """Each user's radio: connected while it is used, idle after IDLE_S of silence, which the next request pays for."""

    def __init__(self, users: int, generation: Generation, draw: np.random.Generator) -> None:
        self._used_s = [-inf] * users
        self.wakes = draw.uniform(*generation.wake_s, TABLE)  # gone through again and again
        self.woken = 0

    def use(self, user: int, now_s: float) -> float:
        """The user sends or receives now; seconds until its radio is there."""
        is_idle = now_s - self._used_s[user] > IDLE_S
        wakes_s = max(0.0, self._used_s[user] - now_s)  # it may be waking up for another one
        wait_s = float(self.wakes[self.woken % TABLE]) if is_idle else wakes_s
        self.woken += is_idle
        self._used_s[user] = now_s + wait_s
        return wait_s

    def used(self, user: int, now_s: float) -> None:
        """The user's radio has carried something until now."""
        self._used_s[user] = now_s
