"""Options of an engine, as a user gave them: read by name and kind, and what is left over is refused by name."""

from collections.abc import Mapping, Sequence
from types import TracebackType

from nodes.backend import Option
from nodes.errors import CompileError


class Options:
    """Reads the options of one `compile`: `with Options(NAME, options) as read: streams = read.count("streams", 1)`.

    Leaving the block refuses every option that was not read. CompileError names engine and option, and what may be.
    """

    def __init__(self, engine: str, given: Mapping[str, Option]) -> None:
        self._engine = engine
        self._left = dict(given)
        self._known: list[str] = []

    def __enter__(self) -> "Options":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._left:
            known = f"it has {', '.join(self._known)}" if self._known else "it has none"
            raise CompileError(f"{self._engine} has no option {min(self._left)!r}; {known}")

    def choice(self, name: str, default: str, among: Sequence[str]) -> str:
        """One of some words."""
        value = self._take(name, default)
        if value not in among:
            raise CompileError(f"{self._engine}: option {name} is {value!r}, must be one of {', '.join(among)}")
        return str(value)

    def text(self, name: str, default: str) -> str:
        """Any text."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise CompileError(f"{self._engine}: option {name} is {value!r}, must be text")
        return value

    def count(self, name: str, default: int, *, least: int = 1) -> int:
        """A whole number, `least` or more."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CompileError(f"{self._engine}: option {name} is {value!r}, must be a whole number from {least} up")
        return value

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        """A number, `least` or more."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise CompileError(f"{self._engine}: option {name} is {value!r}, must be a number from {least:g} up")
        return float(value)

    def switch(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise CompileError(f"{self._engine}: option {name} is {value!r}, must be true or false")
        return value

    def _take(self, name: str, default: Option) -> Option:
        self._known.append(name)
        return self._left.pop(name, default)
