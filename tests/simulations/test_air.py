"""Transfers over the air: their bits are the integral of the rate they get, through every step and handover."""

from collections.abc import Sequence

import numpy as np
import pytest

from simulations.air import TABLE, Air, Transfer
from simulations.engine import Engine
from simulations.radio.access import NSA, SA, Generation
from simulations.radio.carrier import Direction
from simulations.radio.energy import PHONE
from simulations.radio.path_loss import Floats
from simulations.radio.scheduling import Scheduler, gains

Seen = tuple[list[int], list[float], list[float]]
STEP_S = 0.5
AWAKE = Generation(name="NSA", prepare_s=0.033, access_s=0.013, wake_s=(0.0, 0.0))


class Scripted:
    """Users' cells and rates up, step by step; the last step lasts. Down is as up."""

    def __init__(
        self, cells: Sequence[Sequence[int]], rates: Floats, wait_s: float = 0.0, parts_up: Sequence[float] = ()
    ) -> None:
        self._cells, self._rates, self._at, self._wait_s = cells, rates, 0, wait_s
        self._parts_up = list(parts_up) or [1.0] * rates.shape[1]
        self.loads: list[list[float]] = []

    def begin(self) -> Seen:
        rates = self._rates[min(self._at, len(self._rates) - 1)].tolist()
        return list(self._cells[min(self._at, len(self._cells) - 1)]), rates, rates

    def step(self, span_s: float, load: dict[Direction, Floats]) -> Seen:
        self._at += 1
        self.loads.append(load["up"].tolist())
        return self.begin()

    def parts_up(self) -> list[float]:
        return self._parts_up

    def waits(self, cell: int, direction: Direction) -> Floats:
        return np.full(TABLE, self._wait_s)


class Field:
    """An air over scripted channels, and when each transfer ended, by its number."""

    def __init__(
        self,
        channel: Scripted,
        cells: int = 1,
        generation: Generation = AWAKE,
        scheduler: Scheduler = "round-robin",
    ) -> None:
        self.engine, self.ended = Engine(), dict[int, float]()
        self.air = Air(self.engine, channel, cells, generation, np.random.default_rng(1), gains(scheduler))
        self.engine.after(STEP_S, self._step)

    def _step(self) -> None:
        self.air.step(STEP_S)
        self.engine.after(STEP_S, self._step)

    def send(self, at_s: float, user: int, bits: float, number: int = 0) -> None:
        """Have a transfer begin."""
        self.engine.at(at_s, lambda: self.air.send(user, "up", bits, self._end, number))

    def _end(self, transfer: Transfer, number: int) -> None:
        del transfer
        self.ended[number] = self.engine.now_s


def carried(rates: Floats, from_s: float, until_s: float) -> float:
    """∫ rate dt."""
    edges = np.append(0.0, np.cumsum(rates * STEP_S))
    at_s = np.arange(len(edges)) * STEP_S
    return float(np.interp(until_s, at_s, edges) - np.interp(from_s, at_s, edges))


def test_a_transfer_s_bits_are_the_integral_of_its_rate() -> None:
    rates = np.random.default_rng(2).gamma(2.0, 1e6, 400)
    rates[::7] = 0.0  # nothing gets through there
    field = Field(Scripted([[0]], rates[:, None]))
    for number in range(20):
        field.send(0.1 + 7.03 * number, 0, 3e6, number)
    field.engine.run(190.0)
    for number in range(20):
        begun_s = 0.1 + 7.03 * number
        assert carried(rates, begun_s, field.ended[number]) == pytest.approx(3e6, rel=1e-9)


def fluid(rates: Floats, begins_s: Sequence[float], bits: Sequence[float]) -> list[float]:
    """When each of these is through: of the time each who is there gets an equal part, at its own rate (users × 1)."""
    left, ended, now_s = dict(enumerate(bits)), [np.nan] * len(bits), 0.0
    while left:
        there = [user for user in left if begins_s[user] <= now_s]
        step = min(int(round(now_s / STEP_S, 9)), len(rates) - 1)
        speed = {user: rates[step, user] / len(there) for user in there}
        edges = [(step + 1) * STEP_S, *(one for one in begins_s if one > now_s)]
        edges += [now_s + left[user] / speed[user] for user in there]
        next_s = min(edges)
        for user in there:
            left[user] -= speed[user] * (next_s - now_s)
            if left[user] < 1e-6 * bits[user]:
                del left[user]
                ended[user] = next_s
        now_s = next_s
    return ended


def test_those_who_send_at_once_have_equal_shares_of_the_time() -> None:
    rates = np.random.default_rng(3).uniform(1e6, 9e6, (40, 4))
    begins_s, bits = [0.0, 0.3, 1.1, 1.7], [4e6, 2e6, 6e6, 1e6]
    field = Field(Scripted([[0] * 4], rates))
    for user in range(4):
        field.send(begins_s[user], user, bits[user], user)
    field.engine.run(20.0)
    assert [field.ended[user] for user in range(4)] == pytest.approx(fluid(rates, begins_s, bits), rel=1e-9)


def test_those_who_can_use_a_part_only_share_what_their_parts_leave_no_room_for() -> None:
    field = Field(Scripted([[0] * 3], np.full((1, 3), 1e6), parts_up=(0.5, 0.3, 0.7)))
    for user, at_s in enumerate((0.0, 0.2, 0.8)):
        field.send(at_s, user, 1e6, user)
    field.engine.run(9.0)
    # all alone until 0.8 s; then 1.5 of it are wanted, so each goes at 2/3, until the first is through at 1.1 s
    assert field.ended == pytest.approx({0: 1.1, 1: 1.3, 2: 1.9})


def test_cells_do_not_share_and_each_way_is_its_own() -> None:
    field = Field(Scripted([[0, 1]], np.full((1, 2), 1e6)), cells=2)
    field.send(0.0, 0, 1e6, 0)
    field.send(0.0, 1, 1e6, 1)
    field.engine.at(0.0, lambda: field.air.send(0, "down", 1e6, field._end, 2))
    field.engine.run(5.0)
    assert field.ended == pytest.approx({0: 1.0, 1: 1.0, 2: 1.0})


def test_a_handover_interrupts_for_as_long_as_its_generation_says_and_loses_no_bit() -> None:
    rates = np.array([[2e6], [2e6], [5e6]])
    moved = list[tuple[int, int, int]]()
    field = Field(Scripted([[0], [0], [1]], rates), cells=2, generation=AWAKE)
    field.air.on_handover = lambda *told: moved.append(told)
    field.send(0.0, 0, 6e6)  # 2 Mbit by 1 s, when it is handed over; 4 left at 5 Mbit/s
    field.engine.run(5.0)
    assert field.ended[0] == pytest.approx(1.0 + AWAKE.handover_s + 4 / 5, rel=1e-12)
    assert (moved, field.air.handovers, AWAKE.handover_s) == ([(0, 0, 1)], 1, pytest.approx(0.046))
    busy_s = [station.held.busy_s for station in field.air.shared["up"]]
    assert busy_s == pytest.approx([1.0, 0.8])


def test_who_is_handed_over_begins_nothing_new_meanwhile() -> None:
    field = Field(Scripted([[0], [1]], np.full((1, 1), 1e6)), cells=2)
    field.send(0.51, 0, 1e6, 0)
    field.send(0.6, 0, 1e6, 1)
    field.engine.run(5.0)
    assert field.ended[0] == pytest.approx(0.5 + AWAKE.handover_s + 0.054 + 2 * (1 - 0.054), rel=1e-12)


def test_a_transfer_begun_at_time_0_counts_its_energy_from_there() -> None:
    field = Field(Scripted([[0], [1]], np.full((1, 1), 1e6)), cells=2)
    field.send(0.0, 0, 2e6)
    field.engine.run(5.0)
    power = PHONE["NSA", "up"]
    assert field.air.radio_j == pytest.approx(power.joules(2e6, 2.0 + AWAKE.handover_s), rel=1e-12)


@pytest.mark.parametrize(("at_s", "seconds", "bits"), [(0.25, 0.25, 0.5e6), (0.52, 0.52, 1e6), (0.796, 0.796, 1.5e6)])
def test_what_is_withdrawn_frees_its_share_and_has_cost_its_energy(at_s: float, seconds: float, bits: float) -> None:
    field, held = Field(Scripted([[0], [1]], np.full((1, 1), 2e6)), cells=2), list[Transfer]()
    field.engine.at(0.0, lambda: held.append(field.air.send(0, "up", 9e6, field._end, 0)))
    field.engine.at(at_s, lambda: field.air.withdraw(held[0]))
    field.send(2.0, 0, 2e6, 1)
    field.engine.run(2.0)
    assert field.air.radio_j == pytest.approx(PHONE["NSA", "up"].joules(bits, seconds), rel=1e-9)
    field.engine.run(20.0)
    assert field.ended == {1: pytest.approx(3.0)}


def test_what_is_withdrawn_before_its_first_bit_has_cost_nothing() -> None:
    field, held = Field(Scripted([[0]], np.full((1, 1), 2e6), wait_s=0.1)), list[Transfer]()
    field.engine.at(0.0, lambda: held.append(field.air.send(0, "up", 9e6, field._end, 0)))
    field.engine.at(0.05, lambda: field.air.withdraw(held[0]))
    field.engine.run(5.0)
    assert (field.ended, field.air.radio_j) == ({}, 0.0)


def test_waking_up_is_paid_once_and_again_after_ten_seconds_of_silence() -> None:
    field = Field(Scripted([[0]], np.full((1, 1), 1e6)), generation=SA)
    begins_s = (0.0, 5.0, 14.0, 24.9, 36.0)  # silent for 4, 8, 9.9 and 10.1 s in between
    for number, at_s in enumerate(begins_s):
        field.send(at_s, 0, 1e6, number)
    field.engine.run(60.0)
    woke_s = [field.ended[number] - at_s - 1.0 for number, at_s in enumerate(begins_s)]
    assert [wait_s > 0.2 for wait_s in woke_s] == [True, False, False, False, True]
    assert all(0.25 <= wait_s <= 0.3 for wait_s in (woke_s[0], woke_s[4])) and field.air.radios.woken == 2


def test_a_packet_waits_for_its_grant_before_its_first_bit() -> None:
    field = Field(Scripted([[0]], np.full((1, 1), 1e6), wait_s=0.125))
    field.send(1.0, 0, 1e6)
    field.engine.run(5.0)
    assert field.ended[0] == pytest.approx(2.125)
    assert field.air.shared["up"][0].held.busy_s == pytest.approx(1.0)


def test_channels_hear_how_busy_cells_were_in_the_step_before() -> None:
    channel = Scripted([[0, 0, 1]], np.full((1, 3), 1e6))
    field = Field(channel, cells=2)
    for user, at_s in enumerate((0.1, 0.2, 0.9)):
        field.send(at_s, user, 0.2e6)
    field.engine.run(1.5)
    assert np.array(channel.loads) == pytest.approx(np.array([[0.8, 0], [0, 0.2], [0, 0.2]]))


def test_one_more_is_told_of_an_equal_share() -> None:
    field = Field(Scripted([[0, 0]], np.array([[4e6, 9e6]])))
    field.send(0.0, 0, 1e6)
    field.engine.run(0.1)
    assert [field.air.free_bits_per_s(user, "up") for user in (0, 1)] == [2e6, 4.5e6]


def test_a_fair_scheduler_carries_more_the_more_there_are() -> None:
    field = Field(Scripted([[0] * 3], np.full((1, 3), 1e6)), scheduler="proportional-fair")
    gain = gains("proportional-fair")
    assert gain[3] > gain[2] > 1.1
    for user in (0, 1):
        field.send(0.0, user, 1e6, user)
    field.engine.at(0.1, lambda: told.append(field.air.free_bits_per_s(2, "up")))
    told: list[float] = []
    field.engine.run(5.0)
    assert told == [pytest.approx(1e6 * gain[3] / 3)]
    assert [field.ended[user] for user in (0, 1)] == pytest.approx([2 / gain[2]] * 2, rel=1e-9)
    field.send(5.0, 0, 1e6, 2)  # alone
    field.engine.run(9.0)
    assert field.ended[2] == pytest.approx(6.0, rel=1e-9)


def test_generations_interrupt_as_measured() -> None:
    assert (NSA.handover_s, SA.handover_s) == (pytest.approx(0.046), pytest.approx(0.066))
