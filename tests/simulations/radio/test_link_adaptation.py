"""Schemes: as in the standard, chosen for a tenth of losses, repeated until through, and never above Shannon."""

import numpy as np
import pytest

from simulations.radio.link_adaptation import QAM64, QAM256, TARGET, Schemes

BOTH = pytest.mark.parametrize("schemes", [QAM64, QAM256], ids=lambda schemes: schemes.name)


def test_the_tables_are_the_standard_s() -> None:
    assert (len(QAM64.bits), len(QAM256.bits)) == (29, 28)
    assert (QAM64.bits[0], QAM64.bits[28]) == pytest.approx((0.2344, 5.5547), abs=1e-4)
    assert (QAM256.bits[10], QAM256.bits[27]) == pytest.approx((2.5703, 7.4063), abs=1e-4)
    assert (QAM256.snr_db[2], QAM256.snr_db[26]) == (-0.7, 24.8)


@BOTH
def test_a_tenth_is_lost_where_a_scheme_begins_to_be_chosen(schemes: Schemes) -> None:
    every = np.arange(len(schemes.bits))
    assert schemes.lost(every, schemes.snr_db) == pytest.approx(TARGET, rel=1e-5)
    assert (schemes.lost(every, schemes.snr_db - 2) > 0.9).all() and (
        schemes.lost(every, schemes.snr_db + 2) < 1e-6
    ).all()


@BOTH
def test_the_best_scheme_is_the_last_whose_tenth_is_not_above(schemes: Schemes) -> None:
    sinr_db = np.linspace(-15, 40, 2000)
    chosen = schemes.best(sinr_db)
    assert chosen[0] == -1 and chosen[-1] == len(schemes.bits) - 1 and (np.diff(chosen) >= 0).all()
    used = chosen >= 0
    assert (schemes.lost(chosen[used], sinr_db[used]) <= TARGET + 1e-9).all()


@BOTH
def test_what_is_carried_never_passes_shannon_s_bound(schemes: Schemes) -> None:
    sinr_db = np.linspace(-15, 40, 2000)
    carried = schemes.bits_per_symbol(schemes.best(sinr_db), sinr_db)
    assert (carried < np.log2(1 + 10 ** (sinr_db / 10))).all()
    assert (carried[sinr_db < schemes.snr_db[0] - 0.1] == 0).all() and carried[-1] == pytest.approx(schemes.bits[-1])


def test_repeats_mend_what_is_lost_at_their_price() -> None:
    sent, left = QAM256.through(10, QAM256.snr_db[10])
    assert float(sent) == pytest.approx(1 + TARGET, abs=1e-3) and float(left) < 1e-9
    sent, left = QAM256.through(10, QAM256.snr_db[10] - 3.5)  # lost at first, mended by the third
    assert 2 < float(sent) < 3 and float(left) < 0.01
    sent, left = QAM256.through(10, QAM256.snr_db[10] - 9)
    assert (float(sent), float(left)) == pytest.approx((4, 1), abs=0.01)
