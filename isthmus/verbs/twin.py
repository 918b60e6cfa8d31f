"""`isthmus twin`: a recorded run again, in simulated time, with other runs' service times: foretold and measured."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from isthmus.terminal import show, show_json
from simulations.twin import Compared, read_run, services_of, twin


def print_twin(run: Path, times: Sequence[Path], *, seed: int, as_json: bool) -> None:
    """All are folders that Client.record wrote. JournalError or SimulationsError in one line."""
    recorded = read_run(run)
    found = twin(recorded, services_of(*map(read_run, times)), seed=seed)
    if as_json:
        show_json(
            {
                "run": str(run),
                "times": [str(one) for one in times],
                "left_out": recorded.left_out,
                "deployments": [_plain(one) for one in found],
            }
        )
        return
    show(_table(found))
    if recorded.left_out:
        show(f"{recorded.left_out:,} requests left out: the journal was shortened since and lacks their plans")


def _table(found: tuple[Compared, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("deployment")
    for name in ("requests", "p50 measured", "foretold", "off", "p99 measured", "foretold", "off"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            one.deployment,
            f"{one.requests:,}",
            _ms(one.measured_p50_s), _ms(one.predicted_p50_s), f"{one.p50_off:+.1%}",
            _ms(one.measured_p99_s), _ms(one.predicted_p99_s), f"{one.p99_off:+.1%}",
        )  # fmt: skip
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _plain(one: Compared) -> dict[str, object]:
    return {
        "deployment": one.deployment,
        "requests": one.requests,
        "p50_s": {"measured": one.measured_p50_s, "foretold": one.predicted_p50_s, "off": one.p50_off},
        "p99_s": {"measured": one.measured_p99_s, "foretold": one.predicted_p99_s, "off": one.p99_off},
    }
