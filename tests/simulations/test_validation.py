"""Every case of benchmarks/validate.py holds, with fewer lots; and none holds where the simulator is off."""

from collections.abc import Callable, Iterator

import pytest
from kit.by_hand import BY_HAND
from kit.cases import Case
from validate import CASES, QUICK, by_hand, finite, networks, one_server, several_servers, sharing

from simulations.machines import Machine

OF_LOTS = (one_server, several_servers, finite, sharing, networks)


@pytest.mark.slow
@pytest.mark.parametrize("cases", OF_LOTS, ids=lambda cases: cases.__name__)
def test_queues_and_networks_are_what_theory_says(cases: Callable[[int], Iterator[Case]]) -> None:
    found = list(cases(QUICK))
    assert [case for case in found if not case.error <= case.tolerance] == []
    assert [case for case in found if case.sd and case.sd * case.tolerance > case.expected / 2] == []


@pytest.mark.parametrize("cases", [one for one in CASES if one not in OF_LOTS], ids=lambda cases: cases.__name__)
def test_radio_traces_and_sums_are_what_formulas_say(cases: Callable[[int], Iterator[Case]]) -> None:
    assert [case for case in cases(QUICK) if not case.error <= case.tolerance] == []


def test_a_case_fails_where_a_hop_is_a_ten_thousandth_of_a_millisecond_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.by_hand.BY_HAND", BY_HAND.replace("core_ms: 3", "core_ms: 3.0001"))
    assert any("latency" in case.name for case in by_hand(QUICK) if case.error > case.tolerance)


def test_a_case_of_lots_fails_where_a_server_is_a_tenth_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Machine.submit

    def slower(machine: Machine, work: object, deadline_s: float | None = None) -> bool:
        work.seconds *= 1.1  # type: ignore[attr-defined]
        return plain(machine, work, deadline_s)  # type: ignore[arg-type]

    monkeypatch.setattr(Machine, "submit", slower)
    failed = [case.name for case in one_server(5000) if case.error > case.tolerance]
    assert any("Lindley" in name for name in failed) and any("M/D/1" in name for name in failed)
