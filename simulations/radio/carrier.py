"""A carrier's resource blocks, slots and peak rate: 3GPP TS 38.101-1 and -2 (table 5.3.2-1), TS 38.306 (4.1.2)."""

from dataclasses import dataclass
from typing import Literal

from simulations.errors import OutOfRange

Direction = Literal["down", "up"]
SUBCARRIERS = 12  # in a resource block
SYMBOLS = 14  # in a slot
MOST_CODE_RATE = 948 / 1024
# Resource blocks by subcarrier spacing (kHz) and bandwidth (MHz), below 7.125 GHz and above 24 GHz.
_BLOCKS_FR1 = {
    15: {5: 25, 10: 52, 15: 79, 20: 106, 25: 133, 30: 160, 40: 216, 50: 270},
    30: {5: 11, 10: 24, 15: 38, 20: 51, 25: 65, 30: 78, 40: 106, 50: 133, 60: 162, 70: 189, 80: 217, 90: 245, 100: 273},
    60: {10: 11, 15: 18, 20: 24, 25: 31, 30: 38, 40: 51, 50: 65, 60: 79, 70: 93, 80: 107, 90: 121, 100: 135},
}
_BLOCKS_FR2 = {60: {50: 66, 100: 132, 200: 264}, 120: {50: 32, 100: 66, 200: 132, 400: 264}}
_OVERHEAD: dict[tuple[bool, Direction], float] = {
    (False, "down"): 0.14, (False, "up"): 0.08, (True, "down"): 0.18, (True, "up"): 0.10,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A carrier of one cell. `down_share` and `up_share` of its slots go each way; both are 1 where it is paired (FDD).

    OutOfRange for a spacing and bandwidth that the standard does not pair.
    """

    ghz: float
    mhz: int
    spacing_khz: int = 30
    down_share: float = 0.74  # DDDSU, the special slot mostly down
    up_share: float = 0.2

    def __post_init__(self) -> None:
        known = (_BLOCKS_FR2 if self.is_millimetre else _BLOCKS_FR1).get(self.spacing_khz, {})
        if self.mhz not in known:
            fits = ", ".join(f"{mhz}" for mhz in known) or "none"
            raise OutOfRange(
                f"{self.mhz} MHz at {self.ghz:g} GHz with {self.spacing_khz} kHz spacing is no NR carrier; "
                f"bandwidths with that spacing: {fits}"
            )
        for name, share in (("down_share", self.down_share), ("up_share", self.up_share)):
            if not 0 < share <= 1:
                raise OutOfRange(f"{name} {share:g}: must be above 0 and at most 1")

    @property
    def is_millimetre(self) -> bool:
        """Whether it lies in frequency range 2."""
        return self.ghz > 24

    @property
    def blocks(self) -> int:
        """Resource blocks."""
        return (_BLOCKS_FR2 if self.is_millimetre else _BLOCKS_FR1)[self.spacing_khz][self.mhz]

    @property
    def block_hz(self) -> float:
        """Width of a resource block."""
        return SUBCARRIERS * self.spacing_khz * 1e3

    @property
    def slot_s(self) -> float:
        """A slot: 1 ms at 15 kHz."""
        return 1e-3 * 15 / self.spacing_khz

    def overhead(self, direction: Direction) -> float:
        """The share of resource elements that carry control and reference signals."""
        return _OVERHEAD[self.is_millimetre, direction]

    def block_rate(self, direction: Direction) -> float:
        """Modulated symbols a second that one block carries on one layer while its slots go this way."""
        return SUBCARRIERS * SYMBOLS / self.slot_s * (1 - self.overhead(direction))

    def share(self, direction: Direction) -> float:
        """Of the slots, those that go this way."""
        return self.down_share if direction == "down" else self.up_share


def peak_bits_per_s(carrier: Carrier, direction: Direction, *, layers: int, bits_per_symbol: int) -> float:
    """The most that a user gets of a whole carrier whose slots all go this way: TS 38.306, scaling factor 1."""
    if layers < 1 or bits_per_symbol not in (2, 4, 6, 8):
        raise OutOfRange(f"{layers} layers of {bits_per_symbol} bits a symbol: layers from 1, and 2, 4, 6 or 8 bits")
    return layers * bits_per_symbol * MOST_CODE_RATE * carrier.blocks * carrier.block_rate(direction)
