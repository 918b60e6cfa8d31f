"""Claims about sharing requests out between two versions."""

import pytest

from orchestrator.splitting import Split, concerns

KEYS = [f"user-{number}" for number in range(20_000)]


def split(weight: float, salt: str = "") -> Split:
    return Split(epoch=2, mode="ab", weight=weight, salt=salt)


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_a_version_gets_its_part_of_the_keys(weight: float) -> None:
    part = sum(concerns(split(weight), key) for key in KEYS) / len(KEYS)
    assert part == pytest.approx(weight, abs=3.5 * (weight * (1 - weight) / len(KEYS)) ** 0.5)


def test_a_larger_weight_takes_no_key_back() -> None:
    assert all(concerns(split(0.5), key) for key in KEYS if concerns(split(0.1), key))


def test_another_rollout_shares_keys_out_differently() -> None:
    both = sum(concerns(split(0.1, "a"), key) and concerns(split(0.1, "b"), key) for key in KEYS)
    assert both / len(KEYS) == pytest.approx(0.01, abs=0.003)


def test_keys_stick_only_where_two_versions_are_compared_by_them() -> None:
    canary = Split(epoch=2, mode="canary", weight=0.5)
    assert len({concerns(canary, f"request-{n}", "user") for n in range(20)}) == 2
    assert len({concerns(split(0.5), f"request-{n}", "user") for n in range(20)}) == 1


def test_none_and_all_are_exact() -> None:
    assert not any(concerns(split(0.0), key) for key in KEYS)
    assert all(concerns(split(1.0), key) for key in KEYS)
