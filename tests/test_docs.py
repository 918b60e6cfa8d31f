"""What the documents say against what is there: files, links, verbs, keys, versions, figures, the example."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from isthmus.cli import app
from isthmus.demo.report import PREDICTION_PROMISE
from isthmus.demo.scenario import SLOW_MBPS
from nodes.functions import FUNCTIONS
from nodes.joining.fusions import FUSIONS
from nodes.worker import parse
from orchestrator.aligning.ledger import FATES
from orchestrator.aligning.terms import AlignModel, ModalityModel
from orchestrator.control import DRIFT, Control
from orchestrator.pipeline_spec import pins_of
from orchestrator.routing import Routing
from orchestrator.spec_form import DeploymentModel, InputModel, OutputModel
from orchestrator.topology_spec import LinkModel, NodeModel
from orchestrator.yaml_file import check
from partitioner.sources import HELD
from scripts.readme_bench import renewed, table
from scripts.readme_demo import Unpasteable, between_marks, console_block

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")))
README, ARCHITECTURE = ((ROOT / name).read_text() for name in DOCUMENTS[:2])
PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MADE_BY_RUN = (ROOT / "examples/classify/.gitignore").read_text().split()
COMMAND: Any = typer.main.get_command(app)
every_document = pytest.mark.parametrize("document", DOCUMENTS)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(text: str) -> Iterator[list[str]]:
    """Every isthmus, make or python command in a console block or in inline code, as words."""
    lines = [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for line in (*lines, *re.findall(r"`([^`\n]+)`", prose)):
        words = shlex.split(line, comments=True)
        if len(words) > 1 and words[0] in ("isthmus", "make", "python"):
            yield words


def rows(text: str, first: str) -> list[list[str]]:
    """The body of the Markdown table whose head begins with the cell `first`: each row's cells."""
    body = re.search(rf"^\| {re.escape(first)} \|.*\n\| --- .*\n((?:\|.*\n)+)", text, re.M)
    assert body is not None, f"no table {first!r}"
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in body[1].splitlines()]


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def keys(model: type[BaseModel]) -> list[str]:
    """A YAML mapping's keys, as people write them."""
    return sorted(field.alias or name for name, field in model.model_fields.items())


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@every_document
def test_links_lead_to_files_and_headings_that_are_there(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        assert file.exists(), target
        if anchor:
            assert anchor in map(slug, re.findall(r"^#+ (.*)$", file.read_text(), re.M)), target


@every_document
def test_files_that_are_named_exist(document: str) -> None:
    folders = "partitioner|policies|nodes|orchestrator|simulations|isthmus|tests|benchmarks|examples|scripts|docs"
    folders += "|deploy"
    found = re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w/?)", (ROOT / document).read_text())
    missing = [name for name in found if not (ROOT / name).exists() and Path(name).name not in MADE_BY_RUN]
    assert [name for name in missing if "NAME" not in name] == []


@every_document
def test_commands_that_are_named_exist_with_their_options(document: str) -> None:
    for words in commands((ROOT / document).read_text()):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), words
        elif words[0] == "isthmus" and words[1] not in ("VERB", "worker"):
            verb = COMMAND.commands[words[1]]
            verb = verb.commands[words[2]] if words[1] == "jobs" and len(words) > 2 else verb
            own = words[2 : words.index("--")] if "--" in words else words[2:]  # what follows is a script's
            known = [option for parameter in verb.params for option in parameter.opts]
            assert [word for word in own if word.startswith("-") and word not in (*known, "--help")] == []


def test_readme_lists_the_verbs_there_are() -> None:
    assert [names(row[0])[0].split()[0] for row in rows(README, "verb")] == list(COMMAND.commands)


def test_every_verb_said_to_take_json_does() -> None:
    verbs = {name: verb for name, verb in COMMAND.commands.items() if name != "jobs"}
    verbs |= {f"jobs {name}": verb for name, verb in COMMAND.commands["jobs"].commands.items()}
    without = [name for name, verb in verbs.items() if not any("--json" in parameter.opts for parameter in verb.params)]
    assert without == ["run", "worker"]


def test_readme_s_python_is_the_example_and_fits_in_20_lines() -> None:
    (shown,) = blocks(README, "python")
    assert shown == (ROOT / "examples/classify/run.py").read_text()
    assert shown.count("\n") <= 20


def test_readme_s_yaml_is_the_example_s() -> None:
    files = [(ROOT / f"examples/classify/{name}.yaml").read_text() for name in ("spec", "topology")]
    assert blocks(README, "yaml") == files


@pytest.mark.parametrize(
    ("where", "head", "model"),
    [
        ("## The spec", "key", DeploymentModel),
        ("An entry of `inputs`", "key", InputModel),
        ("## The topology", "key of a node", NodeModel),
        ("## The topology", "key of a link", LinkModel),
    ],
)
def test_readme_explains_exactly_the_keys_there_are(where: str, head: str, model: type[BaseModel]) -> None:
    told = [name for row in rows(README[README.index(where) :], head) for name in names(row[0])]
    assert sorted(name for name in told if name != "topology") == keys(model)


def test_an_output_has_the_keys_that_readme_tells() -> None:
    assert sorted(keys(OutputModel)) == ["from", "to"]
    assert "`outputs` has `to`, the node it returns to, and of a pipeline `from`" in README


def test_pipelines_are_explained_as_they_are() -> None:
    text = (ROOT / "docs/pipelines.md").read_text()
    told = {names(row[0])[0]: row for row in rows(text[text.index("## Functions") :], "name")}
    users = {name: one for name, one in FUNCTIONS.items() if name != HELD}
    assert set(told) == set(users)
    for name, one in users.items():
        assert [port for port in names(told[name][2]) if port in one.outputs] == list(one.outputs)
        assert [param for param in names(told[name][3]) if param in one.params] == list(one.params)
    assert [names(row[0])[0] for row in rows(text[text.index("## Fusions") :], "name")] == list(FUSIONS)
    told_spec = yaml.safe_load(blocks(text, "text")[0])
    spec = check(DeploymentModel, {key: value for key, value in told_spec.items() if key != "topology"}, where="docs")
    assert pins_of(spec.steps or {}, "docs") == {"wanted": "cloud"}


def test_alignment_is_explained_as_it_is() -> None:
    text = (ROOT / "docs/alignment.md").read_text()
    told = [name for row in rows(text, "key") for name in names(row[0])]
    assert sorted({*told, "modalities"}) == sorted({*keys(AlignModel), *keys(ModalityModel)})
    check(AlignModel, yaml.safe_load(blocks(text, "yaml")[0]), where="docs")
    ledger = text[text.index("## The ledger") :]
    assert [fate for fate in FATES if f"`{fate}`" not in ledger] == []


def test_versions_are_those_of_the_project_and_its_lock() -> None:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    ranges = {re.split(r"[\[<>=]", one)[0]: one for one in reversed(wanted)}
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), re.M))
    python, *packages = rows(README, "package")
    assert python[1] == project["requires-python"]
    assert [(row[2], row[1]) for row in packages] == [
        (locked[row[0]], re.sub(r"^[\w-]+(\[\w+\])?", "", ranges[row[0]])) for row in packages
    ]


def test_readme_tells_the_download_that_set_up_tells() -> None:
    told = re.search(r"^DOWNLOAD = (\{.*\})", (ROOT / "scripts/bootstrap.py").read_text(), re.M)
    assert told is not None
    for size in json.loads(told[1]).values():
        assert size in README


def test_architecture_s_packages_are_those_of_the_tree() -> None:
    told = [names(row[0])[0] for row in rows(ARCHITECTURE, "package")]
    there = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    assert sorted(told) == sorted(there)
    assert told == PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]


def test_the_changelog_begins_with_this_version() -> None:
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest == PROJECT["project"]["version"]


def test_readme_tells_what_the_demo_promises() -> None:
    assert f"off by more than {PREDICTION_PROMISE * 100:g} %" in README
    assert f"drops to {SLOW_MBPS:g} Mbps" in README


def test_thresholds_that_are_told_are_those_of_the_code() -> None:
    routing, control = signature(Routing).parameters, signature(Control).parameters
    assert (routing["max_attempts"].default, routing["max_losses"].default) == (4, 2)
    assert (control["min_gain"].default, control["min_dwell_s"].default, DRIFT) == (0.15, 10.0, 0.25)
    assert parse(["--node=a", "--state=b"]).orphan_s == 60
    for told in ("four times at most", "two workers died", "15 %", "ten seconds", "a quarter", "after a minute"):
        assert told in ARCHITECTURE, told


@pytest.mark.slow
def test_why_s_python_prints_what_why_says() -> None:
    why = (ROOT / "docs/why.md").read_text()
    (code,), (said,) = blocks(why, "python"), blocks(why, "text")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == said, done.stderr


def test_what_is_pasted_replaces_only_what_is_between_the_marks() -> None:
    assert between_marks("a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb", "x", "new\n") == (
        "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb"
    )
    with pytest.raises(Unpasteable, match=r"<!-- y:begin -->"):
        between_marks(README.replace("demo:", "x:"), "y", "new")


@pytest.mark.parametrize("output", ["half a demo", "requests lost: 0\nbroken promise: 0 switches instead of 2\n"])
def test_a_demo_that_broke_off_or_broke_a_promise_is_not_pasted(output: str) -> None:
    with pytest.raises(Unpasteable):
        console_block(output)


def test_readme_has_room_for_both_pastes() -> None:
    for block in ("demo", "bench"):
        assert between_marks(README, block, "new") != README


def test_a_missed_target_is_shown_as_missed() -> None:
    figure = {"name": "hop", "value": 2.5, "unit": "×", "target": 1.35, "better": "lower", "holds": False}
    machine = {"cpu": "a CPU", "cores": 2, "memory_gb": 8, "versions": {"ray": "2.60.0"}}
    report: dict[str, Any] = {"benchmark": "hop", "machine": machine, "figures": [figure | {"spread": [1.0, 3.0]}]}
    assert "| `hop.py` | hop | ≤ 1.35 × | 2.5 × | 1 – 3 | **no** |" in table([report])
    assert table([report]).endswith("Measured on a CPU, 2 cores, 8 GB; ray 2.60.0.")


def test_rows_of_benchmarks_that_did_not_run_stay() -> None:
    figure = {"name": "it", "value": 1.0, "unit": "s", "target": 2.0, "better": "lower", "holds": True, "spread": None}
    machine = {"cpu": "a CPU", "cores": 2, "memory_gb": 8, "versions": {}}
    first, second, again = (
        {"benchmark": name, "machine": machine, "figures": [figure | {"value": value}]}
        for name, value in (("hop", 1.0), ("atlas", 1.5), ("hop", 0.5))
    )
    readme = "| `key` | what it means |\n<!-- bench:begin -->\n<!-- bench:end -->\n| `verb` | what it does |\n"
    both = between_marks(readme, "bench", table([second, first]))
    assert renewed(both, [again]) == table([second, again])
    assert renewed(between_marks(readme, "bench", table([first])), [second]) == table([second, first])
