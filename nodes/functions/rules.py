"""Conditions on named numbers, as a user writes them: `person > 0.5 and (speech > 0.3 or watched)`.

Comparisons, and, or, not, + − * /, brackets and numbers; a name alone holds when it is not 0. Parsed by Python's own
parser, and evaluated by what is here: nothing else in a text is run.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nodes.errors import UnsupportedOperator

_LARGEST = 1e300
LONGEST = 1000  # characters; also bounds how deep one can go
_COMPARED: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_JOINED: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_KNOWN = (ast.Name, ast.Constant, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.boolop, ast.Load)
_SIGNS = {ast.Not, ast.USub, *_COMPARED, *_JOINED}


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that was read and found to be one."""

    text: str
    tree: ast.expr

    @staticmethod
    @lru_cache(256)
    def of(text: str, names: tuple[str, ...]) -> "Rule":
        """Of a text that may speak of `names`; UnsupportedOperator, with what is wrong, for another."""
        try:
            tree = ast.parse(text[: LONGEST + 1].strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise UnsupportedOperator(f"rule {text!r:.80} is no condition: {error}") from None
        if len(text) > LONGEST:
            raise UnsupportedOperator(f"a rule of {len(text)} characters; at most {LONGEST}")
        for part in ast.walk(tree):
            _check(part, text, names)
        return Rule(text, tree)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether it does; a division by 0 makes what it stands in no number, with which no comparison holds."""
        return bool(_value(self.tree, values))


def _check(part: ast.AST, text: str, names: tuple[str, ...]) -> None:
    if isinstance(part, ast.Name) and part.id not in names:
        raise UnsupportedOperator(f"rule {text!r} speaks of {part.id!r}; there are {', '.join(names)}")
    if isinstance(part, ast.Constant) and not (isinstance(part.value, int | float) and abs(part.value) < _LARGEST):
        raise UnsupportedOperator(f"rule {text!r:.80}: {part.value!r:.40} is no number")
    if not isinstance(part, _KNOWN) and type(part) not in _SIGNS:
        raise UnsupportedOperator(f"rule {text!r}: {type(part).__name__} has no place in a rule")


def _value(tree: ast.expr, values: Mapping[str, float]) -> Any:
    if isinstance(tree, ast.Name):
        return values[tree.id]
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.BoolOp):
        told = (_value(part, values) for part in tree.values)
        return all(told) if isinstance(tree.op, ast.And) else any(told)
    if isinstance(tree, ast.UnaryOp):
        told = _value(tree.operand, values)
        return not told if isinstance(tree.op, ast.Not) else -told
    return _compared(tree, values) if isinstance(tree, ast.Compare) else _joined(tree, values)


def _compared(tree: ast.Compare, values: Mapping[str, float]) -> bool:
    terms = [_value(term, values) for term in (tree.left, *tree.comparators)]
    return all(_COMPARED[type(sign)](a, b) for sign, a, b in zip(tree.ops, terms, terms[1:], strict=False))


def _joined(tree: ast.expr, values: Mapping[str, float]) -> float:
    if not isinstance(tree, ast.BinOp):
        raise UnsupportedOperator(f"{type(tree).__name__} has no place in a rule")
    left, right = _value(tree.left, values), _value(tree.right, values)
    if isinstance(tree.op, ast.Div) and not right:
        return math.nan
    return float(_JOINED[type(tree.op)](left, right))
