"""The course of a replication: a few figures, sampled so seldom that a long one costs no more memory."""

from dataclasses import dataclass, field

from simulations.air import Air
from simulations.backhaul import Backhaul
from simulations.machines import Machine
from simulations.tally import Tally

SAMPLES = 300


def every_s(duration_s: float) -> float:
    """How often: a second, or what makes SAMPLES."""
    return max(1.0, duration_s / SAMPLES)


@dataclass(slots=True)
class Series:
    """Columns by name, all as long as `at_s`. Each sample is over the time since the one before it."""

    cells: tuple[str, ...]
    columns: dict[str, list[float]] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)

    def sample(
        self,
        at_s: float,
        span_s: float,
        tallies: list[Tally],
        air: Air,
        machines: dict[str, Machine],
        backhaul: Backhaul,
    ) -> None:
        """Note how things stand."""
        answered = self._more("answered", sum(tally.answered for tally in tallies))
        total_s = self._more("latency", sum(tally.latency.total_s for tally in tallies))
        mean_s = total_s / answered if answered else float("nan")
        failed = self._more("failed", sum(sum(tally.failed.values()) for tally in tallies))
        found = {"at_s": at_s, "answered_per_s": answered / span_s, "latency_mean_s": mean_s}
        found |= {"failed_per_s": failed / span_s}
        for number, cell in enumerate(self.cells):
            for way, stations in air.shared.items():
                stations[number].settle()
                found[f"{cell}.{way}_load"] = self._more(f"{cell}.{way}", stations[number].used_s) / span_s
            rates = [air.alone["up"][user] for user, at in enumerate(air.cell_of) if at == number]
            found[f"{cell}.users"] = float(len(rates))
            found[f"{cell}.up_bits_per_s"] = sum(rates) / len(rates) if rates else float("nan")
        for name, machine in machines.items():
            machine.held.settle()
            found[f"{name}.busy"] = self._more(name, machine.held.busy_s) / span_s
        for line in backhaul.lines.values():
            name = f"{line.wire.source}→{line.wire.target}"
            rate = line.rate_bits_per_s if line.is_up else 0.0
            found[f"{name}.bits_per_s"] = rate
            found[f"{name}.sent_bits_per_s"] = self._more(name, line.carried_bytes * 8) / span_s
        for key, value in found.items():
            self.columns.setdefault(key, []).append(value)

    def _more(self, what: str, total: float) -> float:
        """By how much it has grown."""
        before, self._before[what] = self._before.get(what, 0.0), total
        return total - before
