"""Published block error curves: the crossing found between entries, what is missing kept, what is no table refused."""

import json
from pathlib import Path
from statistics import NormalDist

import pytest

from simulations.errors import BadTrace
from simulations.radio.link_adaptation import QAM256
from simulations.traces.block_errors import read_block_errors

SNR_DB = [0.0, 1.5, 3.0, 4.5, 6.0]


def written(folder: Path, curves: object) -> Path:
    path = folder / "table2.json"
    path.write_text(json.dumps({"category": {"1": {"index": {"2": {"MCS": curves}}}}}))
    return path


def curve(middle_db: float, spread_db: float) -> list[float]:
    return [NormalDist(middle_db, spread_db).cdf(2 * middle_db - snr_db) for snr_db in SNR_DB]


def test_a_tenth_is_lost_where_the_curve_crosses_it(tmp_path: Path) -> None:
    curves = {"3": {"SNR_db": SNR_DB, "CBS": {"24": {"BLER": [1, 1, 1, 1, 1]}, "900": {"BLER": curve(2.0, 0.8)}}}}
    read = read_block_errors(written(tmp_path, curves))
    assert read.snr_db[3] == pytest.approx(2.0 + 0.8 * 1.2816, abs=0.01)
    assert read.snr_db[4] == QAM256.snr_db[4] and (read.bits == QAM256.bits).all()


def test_a_curve_that_does_not_cross_tells_nothing(tmp_path: Path) -> None:
    flat = {"3": {"SNR_db": SNR_DB, "CBS": {"900": {"BLER": [0.0] * 5}}}}
    assert read_block_errors(written(tmp_path, flat)).snr_db[3] == QAM256.snr_db[3]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match=r"table2.json: is no table of block errors: ValueError at 2 errors at 5 SNRs"):
        read_block_errors(written(tmp_path, {"3": {"SNR_db": SNR_DB, "CBS": {"900": {"BLER": [1, 0]}}}}))
    with pytest.raises(BadTrace, match=r"table2.json: is no table of block errors: KeyError"):
        read_block_errors(written(tmp_path, {"3": {"SNR_db": SNR_DB}}))
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(BadTrace, match=r"torn.json: "):
        read_block_errors(tmp_path / "torn.json")
