"""Pastes a captured run of the demo into README.md, between <!-- demo:begin --> and <!-- demo:end -->.

    COLUMNS=100 isthmus demo > demo.txt && python -m scripts.readme_demo demo.txt

It refuses a run that broke a promise, and changes nothing outside the two marks.
"""

import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


class Unpasteable(Exception):
    """Marks that are missing, or an output that must not be shown; one line with the way out."""


def between_marks(text: str, block: str, content: str) -> str:
    """`text` with `content` between the marks of `block`; Unpasteable unless each mark is there once, in order."""
    begin, end = f"<!-- {block}:begin -->", f"<!-- {block}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise Unpasteable(f"README.md should hold {begin} and then {end}, each once")
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    return f"{head}{begin}\n{content.strip(chr(10))}\n{end}{tail}"


def console_block(output: str) -> str:
    """A captured demo as Markdown; Unpasteable for one that is not whole or broke a promise."""
    if "requests lost:" not in output:
        raise Unpasteable("this is not the whole output of a demo: run isthmus demo > demo.txt once more")
    if "broken promise" in output:
        raise Unpasteable(f"the demo broke a promise: {output[output.index('broken promise') :].splitlines()[0]}")
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    return "\n".join(["```console", "$ isthmus demo", *lines, "```"])


def main() -> None:
    """Paste the file named on the command line, or standard input."""
    output = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else sys.stdin.read()
    try:
        README.write_text(between_marks(README.read_text(), "demo", console_block(output)))
    except Unpasteable as refusal:
        sys.exit(f"readme_demo: {refusal}")


if __name__ == "__main__":
    main()
