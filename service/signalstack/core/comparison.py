"""How a filter pattern compares one leaf of a payload: plain values, and operators such as prefix.

Values are compared as JSON: 5 equals 5.0 but not "5", and true is no number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from signalstack.core.document import Json, pointer_to
from signalstack.core.errors import InvalidError

Leaf: TypeAlias = bool | int | float | str | None
Test: TypeAlias = Callable[[Leaf], bool]

_TextTest: TypeAlias = Callable[[str], bool]

_WILDCARD: Final = re.compile(r"(?:[^\\*]|\\[\\*]|\*(?!\*))*")
_WILDCARD_PART: Final = re.compile(r"\\([\\*])|(\*)|([^\\*]+)")


def any_of(values: Sequence[Leaf]) -> Test:
    """Make the test that a leaf equals one of some values."""
    # Three sets, since True == 1 in Python; integers and doubles that are equal hash alike.
    texts = {value for value in values if isinstance(value, str)}
    constants = {value for value in values if isinstance(value, bool) or value is None}
    numbers = {value for value in values if _is_number(value)}

    def test(leaf: Leaf) -> bool:
        if isinstance(leaf, str):
            return leaf in texts
        if isinstance(leaf, bool) or leaf is None:
            return leaf in constants
        return leaf in numbers

    return test


def compile_operator(item: dict[str, Json], pointer: str) -> Test:
    """Make the test that an operator, an object with one key, stands for.

    Raises:
        InvalidError: unknown or malformed; points at the fault.
    """
    name = next(iter(item), "")
    make = _OPERATORS.get(name)
    if len(item) != 1 or make is None:
        raise InvalidError.at(pointer, f"must have exactly one of: {', '.join(_OPERATORS)}")
    return make(item[name], pointer + pointer_to(name))


def count_operands(item: dict[str, Json]) -> int:
    """Count what an operator tries one by one on a leaf; lists of plain values are looked up."""
    return sum(
        len(argument)
        for name, argument in item.items()
        if name in _TEXT_OPERATORS and isinstance(argument, list)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _on_text(test: _TextTest) -> Test:
    return lambda leaf: isinstance(leaf, str) and test(leaf)


def _prefix(argument: Json, pointer: str) -> _TextTest:
    prefix, folded = _affix(argument, pointer)
    if folded:
        return lambda leaf: leaf.casefold().startswith(prefix)
    return lambda leaf: leaf.startswith(prefix)


def _suffix(argument: Json, pointer: str) -> _TextTest:
    suffix, folded = _affix(argument, pointer)
    if folded:
        return lambda leaf: leaf.casefold().endswith(suffix)
    return lambda leaf: leaf.endswith(suffix)


def _affix(argument: Json, pointer: str) -> tuple[str, bool]:
    if isinstance(argument, dict) and argument.keys() == {"equals-ignore-case"}:
        text = _text(argument["equals-ignore-case"], f"{pointer}/equals-ignore-case")
        return text.casefold(), True
    return _text(argument, pointer), False


def _equals_ignore_case(argument: Json, pointer: str) -> _TextTest:
    wanted = _text(argument, pointer).casefold()
    return lambda leaf: leaf.casefold() == wanted


def _wildcard(argument: Json, pointer: str) -> _TextTest:
    text = _text(argument, pointer)
    if not _WILDCARD.fullmatch(text):
        raise InvalidError.at(pointer, r"must not have ** or a backslash other than in \* and \\")
    parts = [""]
    for escaped, star, plain in _WILDCARD_PART.findall(text):
        if star:
            parts.append("")
        else:
            parts[-1] += escaped or plain
    return lambda leaf: _fits_wildcard(parts, leaf)


def _fits_wildcard(parts: list[str], text: str) -> bool:
    """Look for each part after the one before it: leftmost is best, so nothing is tried twice."""
    first, *middle = parts
    if not middle:
        return text == first
    last = middle.pop()
    start, end = len(first), len(text) - len(last)
    if not (start <= end and text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        found = text.find(part, start, end)
        if found < 0:
            return False
        start = found + len(part)
    return True


def _numeric(argument: Json, pointer: str) -> Test:
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        raise InvalidError.at(pointer, 'must be like [">", 0] or [">=", 0, "<", 10]')
    pairs = list(zip(argument[::2], argument[1::2], strict=True))
    bounds = [_bound(*pair, f"{pointer}/{2 * index}") for index, pair in enumerate(pairs)]
    for (low_sign, low), (high_sign, high) in pairwise(bounds):
        if not (low_sign.startswith(">") and high_sign.startswith("<") and low < high):
            raise InvalidError.at(pointer, "a range must have its lower bound first")

    def test(leaf: Leaf) -> bool:
        if isinstance(leaf, bool | str) or leaf is None:
            return False
        return all(_COMPARISONS[sign](leaf, limit) for sign, limit in bounds)

    return test


def _bound(sign: Json, limit: Json, pointer: str) -> tuple[str, float]:
    if not isinstance(sign, str) or sign not in _COMPARISONS:
        raise InvalidError.at(pointer, f"must be one of: {' '.join(_COMPARISONS)}")
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        raise InvalidError.at(pointer, f"{sign} must be followed by a number")
    return sign, limit


def _exists(argument: Json, pointer: str) -> Test:
    if argument is not True:  # false is no test of a leaf: see _is_absence
        raise InvalidError.at(pointer, "must be true or false")
    return lambda _: True


def _anything_but(argument: Json, pointer: str) -> Test:
    if isinstance(argument, dict):
        return _anything_but_text(argument, pointer)
    values = argument if isinstance(argument, list) else [argument]
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and _is_number(value)]
    if not values or len(values) not in (len(texts), len(numbers)):
        raise InvalidError.at(pointer, "must be a string, a number, or a list of one of the two")
    same = any_of([*texts, *numbers])
    return lambda leaf: not same(leaf)


def _anything_but_text(argument: dict[str, Json], pointer: str) -> Test:
    name = next(iter(argument), "")
    make = _TEXT_OPERATORS.get(name)
    if len(argument) != 1 or make is None:
        raise InvalidError.at(pointer, f"must have exactly one of: {', '.join(_TEXT_OPERATORS)}")
    where, item = pointer + pointer_to(name), argument[name]
    if isinstance(item, list):
        tests = [make(text, f"{where}/{index}") for index, text in enumerate(item)]
    else:
        tests = [make(item, where)]
    if not tests:
        raise InvalidError.at(where, "must not be empty")
    return lambda leaf: not (isinstance(leaf, str) and any(test(leaf) for test in tests))


def _text(argument: Json, pointer: str) -> str:
    if not isinstance(argument, str):
        raise InvalidError.at(pointer, "must be a string")
    return argument


_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lambda leaf, limit: leaf < limit,
    "<=": lambda leaf, limit: leaf <= limit,
    "=": lambda leaf, limit: leaf == limit,
    ">=": lambda leaf, limit: leaf >= limit,
    ">": lambda leaf, limit: leaf > limit,
}
_TEXT_OPERATORS: Final[dict[str, Callable[[Json, str], _TextTest]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}
_OPERATORS: Final[dict[str, Callable[[Json, str], Test]]] = {
    "prefix": lambda argument, pointer: _on_text(_prefix(argument, pointer)),
    "suffix": lambda argument, pointer: _on_text(_suffix(argument, pointer)),
    "equals-ignore-case": lambda argument, pointer: _on_text(
        _equals_ignore_case(argument, pointer)
    ),
    "wildcard": lambda argument, pointer: _on_text(_wildcard(argument, pointer)),
    "numeric": _numeric,
    "exists": _exists,
    "anything-but": _anything_but,
}
