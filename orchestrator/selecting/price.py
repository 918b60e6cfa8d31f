"""Dollars of a million answers, from a node's price by the hour or from what it was bought for.

A purchase is paid off in a straight line over `years` of which the share `utilisation` is spent answering; current
and care are not in it.
"""

from dataclasses import dataclass

HOURS_A_YEAR = 8766.0  # 365.25 days
YEARS, UTILISATION = 3.0, 1.0  # unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a machine costs: by the hour, or once. Both or neither may be given; the hour's price goes first."""

    usd_per_hour: float | None = None
    purchase_usd: float | None = None
    years: float = YEARS
    utilisation: float = UTILISATION

    def hourly_usd(self) -> float | None:
        """Dollars of an hour spent answering, with the idle hours that it has to carry; None without a price."""
        if self.usd_per_hour is not None:
            return self.usd_per_hour / self.utilisation
        if self.purchase_usd is not None:
            return self.purchase_usd / (self.years * HOURS_A_YEAR * self.utilisation)
        return None

    def usd_per_million(self, answers_per_s: float) -> float | None:
        """Dollars of a million answers at so many a second; None without a price."""
        hourly = self.hourly_usd()
        return None if hourly is None else hourly / 3600 / answers_per_s * 1e6

    def told(self) -> str:
        """Where the dollars come from, in a few words; "" without a price."""
        if self.usd_per_hour is not None:
            return f"${self.usd_per_hour:g} an hour, busy for {self.utilisation:.0%}"
        if self.purchase_usd is not None:
            return f"${self.purchase_usd:g} over {self.years:g} years, busy for {self.utilisation:.0%}"
        return ""
