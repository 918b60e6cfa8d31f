"""What a phone's radio takes while it carries bits: a floor while it is on, and more with the rate.

Narayanan et al., A Variegated Look at 5G in the Wild: Performance, Power, and QoE Implications (SIGCOMM 2021): power =
a + b · rate, fitted to measurements. Outside of the range of rates that was measured it is carried on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulations.errors import OutOfRange
from simulations.radio.carrier import Direction


@dataclass(frozen=True, slots=True)
class RadioPower:
    """Watts while bits are carried one way: `on_w` and `w_per_mbps` more for each Mbit/s."""

    on_w: float
    w_per_mbps: float

    def watts(self, bits_per_s: float) -> float:
        """At this rate. OutOfRange for a negative one."""
        if bits_per_s < 0:
            raise OutOfRange(f"a rate of {bits_per_s:g} bit/s")
        return self.on_w + self.w_per_mbps * bits_per_s / 1e6

    def joules(self, bits: float, seconds: float) -> float:
        """For so many bits in so long, whatever the rate did meanwhile. OutOfRange for bits in no time."""
        if seconds < 0 or bits < 0 or (bits and not seconds):
            raise OutOfRange(f"{bits:g} bits in {seconds:g} s")
        return self.on_w * seconds + self.w_per_mbps * bits / 1e6


PHONE: Mapping[tuple[str, Direction], RadioPower] = MappingProxyType(
    {
        ("LTE", "down"): RadioPower(2.839, 11.5e-3),
        ("LTE", "up"): RadioPower(2.926, 76.7e-3),
        ("NSA", "down"): RadioPower(3.059, 11.5e-3),
        ("NSA", "up"): RadioPower(3.199, 32.2e-3),
        ("mmWave", "down"): RadioPower(5.237, 1.73e-3),
        ("mmWave", "up"): RadioPower(5.664, 8.88e-3),
    }
)
