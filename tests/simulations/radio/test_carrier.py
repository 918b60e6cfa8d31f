"""Carriers: peak rates as published, blocks and slots as in the standard, what is no carrier refused by name."""

import pytest

from simulations.errors import OutOfRange
from simulations.radio.carrier import Carrier, Direction, peak_bits_per_s

MID, NARROW = Carrier(ghz=3.5, mhz=100), Carrier(ghz=3.5, mhz=40)
WAVE = Carrier(ghz=28, mhz=100, spacing_khz=120)


@pytest.mark.parametrize(
    ("carrier", "direction", "layers", "bits", "mbps"),
    [
        (MID, "down", 4, 8, 2337.00),
        (MID, "down", 2, 8, 1168.50),
        (MID, "up", 1, 6, 468.76),
        (MID, "up", 2, 8, 1250.02),
        (NARROW, "down", 4, 8, 907.41),
        (WAVE, "down", 2, 6, 808.07),
    ],
)
def test_peak_rates_are_those_of_the_standard_s_formula(
    carrier: Carrier, direction: Direction, layers: int, bits: int, mbps: float
) -> None:
    found = peak_bits_per_s(carrier, direction, layers=layers, bits_per_symbol=bits)
    assert found / 1e6 == pytest.approx(mbps, abs=0.01)


def test_blocks_and_slots_follow_the_spacing() -> None:
    assert (MID.blocks, NARROW.blocks, WAVE.blocks) == (273, 106, 66)
    assert (MID.slot_s, WAVE.slot_s, MID.block_hz) == (5e-4, 1.25e-4, 360e3)
    assert (MID.share("down"), MID.share("up")) == (0.74, 0.2)


def test_what_is_no_carrier_is_refused_with_what_is() -> None:
    with pytest.raises(OutOfRange, match=r"45 MHz at 3.5 GHz with 15 kHz spacing is no NR carrier; .*: 5, 10, 15, 20"):
        Carrier(ghz=3.5, mhz=45, spacing_khz=15)
    with pytest.raises(OutOfRange, match="with 30 kHz spacing is no NR carrier; bandwidths with that spacing: none"):
        Carrier(ghz=28, mhz=100, spacing_khz=30)
    with pytest.raises(OutOfRange, match="up_share 0: must be above 0"):
        Carrier(ghz=3.5, mhz=100, up_share=0)
    with pytest.raises(OutOfRange, match="0 layers of 8 bits a symbol"):
        peak_bits_per_s(MID, "down", layers=0, bits_per_symbol=8)
