"""Writes the benchmarks' table into README.md, between <!-- bench:begin --> and <!-- bench:end -->.

    python -m scripts.readme_bench                      runs every benchmark (minutes)
    python -m scripts.readme_bench --quick              rough figures, to see the table
    python -m scripts.readme_bench FILE.json …          what `benchmarks/NAME.py --json` printed earlier; the rows of
                                                        those that are not named stay

Only figures with a target stand in the table; the others are in each benchmark's own output. A target that is
missed is shown as missed. It measures nothing itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.readme_demo import README, Unpasteable, between_marks

ROOT = README.parent
Report = Mapping[str, Any]  # what a benchmark prints with --json
HEAD = ("| benchmark | figure | target | reached | spread | holds |", "| --- | --- | ---: | ---: | ---: | --- |")


def runnable() -> tuple[Path, ...]:
    """The benchmarks, as `make bench` finds them."""
    return tuple(path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text())


def run(benchmark: Path, options: Sequence[str]) -> Report:
    """One benchmark's report; Unpasteable, with its last line, if it failed."""
    print(f"readme_bench: {benchmark.name}", file=sys.stderr)
    env = os.environ | {"PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(
        [sys.executable, benchmark, "--json", *options],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return read(done.stdout, benchmark.name)


def read(text: str, where: str) -> Report:
    """A report from its JSON; Unpasteable if it is none."""
    try:
        report: Report = json.loads(text)
    except json.JSONDecodeError:
        raise Unpasteable(f"{where}: no JSON of a benchmark: {text.strip()[-80:]!r}; run it by itself") from None
    if not {"benchmark", "machine", "figures"} <= set(report):
        raise Unpasteable(f"{where}: not what a benchmark prints with --json")
    return report


def table(reports: Iterable[Report]) -> str:
    """The reports as Markdown: one row a figure with a target, then the machines they ran on."""
    told = list(reports)
    rows = [_row(each["benchmark"], one) for each in told for one in each["figures"] if one["target"] is not None]
    machines = dict.fromkeys(_machine(each["machine"]) for each in told)
    return "\n".join([*HEAD, *rows, "", *(f"Measured on {machine}." for machine in machines)])


def renewed(before: str, reports: Iterable[Report]) -> str:
    """The table in this text (README.md), with these reports' rows in place of those that their benchmarks had."""
    told = list(reports)
    lines = before.partition("<!-- bench:begin -->")[2].partition("<!-- bench:end -->")[0].splitlines()
    rows: dict[str, list[str]] = {}
    for row in [line for line in lines if line.startswith("| `")]:
        rows.setdefault(row.split("`")[1], []).append(row)
    new = table(told).splitlines()
    for each in told:
        name = f"{each['benchmark']}.py"
        rows[name] = [row for row in new if row.startswith(f"| `{name}`")]
    machines = dict.fromkeys(line for line in (*lines, *new) if line.startswith("Measured on"))
    return "\n".join([*HEAD, *(row for name in sorted(rows) for row in rows[name]), "", *machines])


def _row(benchmark: str, figure: Mapping[str, Any]) -> str:
    sign = "≤" if figure["better"] == "lower" else "≥"
    spread = "" if figure["spread"] is None else " – ".join(_short(end) for end in figure["spread"])
    reached = f"{_short(figure['value'])} {figure['unit']}".strip()
    target = f"{sign} {_short(figure['target'])} {figure['unit']}".strip()
    holds = "yes" if figure["holds"] else "**no**"
    return f"| `{benchmark}.py` | {figure['name']} | {target} | {reached} | {spread} | {holds} |"


def _short(value: float) -> str:
    """Three significant digits, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _machine(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB; {versions}"


def main() -> None:
    """Run the benchmarks, or read the files named on the command line, and write the table."""
    options = [one for one in sys.argv[1:] if one.startswith("--")]
    files = [Path(one) for one in sys.argv[1:] if not one.startswith("--")]
    try:
        text = README.read_text()
        if files:
            made = renewed(text, [read(file.read_text(), str(file)) for file in files])
        else:
            made = table(run(each, options) for each in runnable())
        README.write_text(between_marks(text, "bench", made))
    except Unpasteable as refusal:
        sys.exit(f"readme_bench: {refusal}")


if __name__ == "__main__":
    main()
