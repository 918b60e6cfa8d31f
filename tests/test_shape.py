"""The house style's measurable rules (line lengths, names and docstrings are ruff's)."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("partitioner", "policies", "nodes", "orchestrator", "simulations", "isthmus")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BANNED = re.compile(r"Manager|Helper|Handler|\butils\b|\bcommon\b|\bdo_")


@cache
def sources(*folders: str) -> tuple[tuple[str, str, ast.Module], ...]:
    """Every Python file below the folders: name, text, tree."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple((str(path.relative_to(ROOT)), text := path.read_text(), ast.parse(text)) for path in paths)


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, signature and docstring included."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def public(
    body: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public classes, functions and methods, by dotted name."""
    for node in body:
        if isinstance(node, (ast.ClassDef, *FUNCTIONS)) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def test_no_file_is_longer_than_500_lines() -> None:
    everything = sources(*PACKAGES, "tests", "benchmarks", "examples", "scripts")
    assert [name for name, text, _ in everything if text.count("\n") > 500] == []


def test_half_of_the_files_fit_in_150_lines() -> None:
    assert median(text.count("\n") for _, text, _ in sources(*PACKAGES) if text.strip()) <= 150


def test_every_function_fits_on_a_screen() -> None:
    everything = sources(*PACKAGES, "tests", "benchmarks", "examples", "scripts")
    assert [f"{file}:{name}" for file, _, tree in everything for name, lines in functions(tree) if lines > 60] == []


def test_most_functions_take_25_lines_at_most() -> None:
    lengths = [lines for _, _, tree in sources(*PACKAGES) for _, lines in functions(tree)]
    assert sum(length <= 25 for length in lengths) > len(lengths) / 2


def test_half_of_the_tests_take_15_lines_at_most() -> None:
    lengths = [lines for _, _, tree in sources("tests") for name, lines in functions(tree) if name.startswith("test_")]
    assert median(lengths) <= 15


def test_every_public_name_says_what_it_is() -> None:
    silent = [
        f"{file}:{name}"
        for file, _, tree in sources(*PACKAGES)
        for name, node in public(tree.body)
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_file_says_what_it_is() -> None:
    silent = [name for name, text, tree in sources(*PACKAGES) if text.strip() and not ast.get_docstring(tree)]
    assert silent == []


def test_no_name_is_a_manager_a_helper_or_a_drawer_for_odds_and_ends() -> None:
    names = [
        name
        for file, _, tree in sources(*PACKAGES)
        for name in (file.removesuffix(".py").replace("/", " "), *(f"{file}:{name}" for name, _ in public(tree.body)))
    ]
    assert [name for name in names if BANNED.search(name)] == []


def test_no_exception_is_swallowed_without_a_word() -> None:
    swallowed = [
        f"{file}:{node.lineno}"
        for file, _, tree in sources(*PACKAGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert swallowed == []
