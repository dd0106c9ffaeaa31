"""Which events a subscription takes: by type, and by a filter pattern over the payload.

A filter has the form that Amazon EventBridge made known, and its meaning:

- It has the shape of the payload. All fields named must match; a field's array lists what is
  accepted there, and any one suffices. `$or` holds alternatives, each an object.
- Where the payload has an array, one element that matches suffices. What a pattern asks of an
  object within an array must hold for one and the same element.
- Comparisons see leaves: strings, numbers, booleans, null. `{"exists": false}` therefore also takes
  a field that holds an object or an empty array, and under an array of objects it asks that no
  element has the field, unless the same element matches something else besides.
- `anything-but` needs a leaf that differs; it does not take a field that is missing.

Sources: "Comparison operators for use in event patterns" in the EventBridge user guide, and
github.com/aws/event-ruler. Keys are taken literally: a dot in a key is no path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from signalstack.core.budget import Budget
from signalstack.core.comparison import Leaf, Test, any_of, compile_operator, count_operands
from signalstack.core.document import Json, canonical, pointer_to, restore
from signalstack.core.errors import InvalidError

MAX_TYPE: Final = 255
MAX_FILTER_BYTES: Final = 16_384
MAX_FILTER_DEPTH: Final = 16
MAX_CONDITIONS: Final = 100

Filter: TypeAlias = Callable[[Json, Budget], bool]
"""Tells whether a payload matches; CostError where that takes more steps than there are."""

# How well a value fits: not at all, only because what is asked about is missing, or by what it has.
_Fit: TypeAlias = int
_Node: TypeAlias = Callable[[Json, Budget], _Fit]
_NO: Final = 0
_BY_ABSENCE: Final = 1
_BY_PRESENCE: Final = 2

_MISSING: Final[list[Json]] = []  # like an empty array, it has neither leaves nor objects
_CHARS_PER_STEP: Final = 128
_TYPE: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f*]*\*?")


def check_event_type(pattern: str, pointer: str = "/event_type") -> None:
    """Raise InvalidError unless a pattern is a type such as `order.paid`, or ends in `*`."""
    if not 1 <= len(pattern) <= MAX_TYPE:
        raise InvalidError.at(pointer, f"must have 1 to {MAX_TYPE} characters")
    if not _TYPE.fullmatch(pattern):
        raise InvalidError.at(pointer, "must be a type without spaces; * may only stand at its end")


def matches_type(pattern: str, event_type: str) -> bool:
    """Tell whether an event's type is the pattern's, or begins with what precedes its `*`."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern


def compile_filter(pattern: Json, pointer: str = "/filter") -> Filter:
    """Turn a filter pattern into a function that tells whether a payload matches.

    Args:
        pattern: a document that `document.decode` let in, or that the database gave back.
        pointer: where the pattern stands in the body.

    Raises:
        InvalidError: the pattern is malformed or too large; points into the pattern.
    """
    pattern = restore(pattern)
    if len(canonical(pattern)) > MAX_FILTER_BYTES:
        raise InvalidError.at(pointer, f"must not exceed {MAX_FILTER_BYTES} bytes")
    if _conditions(pattern) > MAX_CONDITIONS:
        raise InvalidError.at(pointer, f"must not have more than {MAX_CONDITIONS} conditions")
    node = _object(pattern, pointer, 1)
    return lambda payload, budget: node(payload, budget) != _NO


def _conditions(pattern: Json) -> int:
    """Count fields, operators and operands: all that may be tried on every element of an array."""
    if isinstance(pattern, dict):
        nested = sum(_conditions(value) for value in pattern.values())
        return len(pattern) + count_operands(pattern) + nested
    return sum(_conditions(item) for item in pattern) if isinstance(pattern, list) else 0


def _object(pattern: Json, pointer: str, depth: int) -> _Node:
    if depth > MAX_FILTER_DEPTH:
        raise InvalidError.at(pointer, f"patterns may nest {MAX_FILTER_DEPTH} deep")
    if not isinstance(pattern, dict) or not pattern:
        raise InvalidError.at(pointer, "must be an object with at least one field")
    nodes = [
        _field(key, item, pointer + pointer_to(key), depth)
        for key, item in pattern.items()
        if key != "$or"
    ]
    if "$or" in pattern:
        nodes.append(_or(pattern["$or"], f"{pointer}/$or", depth))
    return lambda value, budget: _fit_objects(nodes, value, budget)


def _fit_objects(nodes: list[_Node], value: Json, budget: Budget) -> _Fit:
    """Fit all nodes on one object: the value itself, or one of those in an array."""
    if isinstance(value, dict):
        return _fit_all(nodes, value, budget)
    _pay_for(value, budget)
    worst = _BY_PRESENCE
    for item in _objects(value):
        budget.pay(len(nodes))
        fit = _fit_all(nodes, item, budget)
        if fit == _BY_PRESENCE:
            return fit
        worst = min(worst, fit)
    return _fit_all(nodes, {}, budget) if worst == _BY_PRESENCE else worst


def _fit_all(nodes: list[_Node], value: dict[str, Json], budget: Budget) -> _Fit:
    best = _BY_ABSENCE
    for node in nodes:
        fit = node(value, budget)
        if fit == _NO:
            return _NO
        best = max(best, fit)
    return best


def _field(key: str, item: Json, pointer: str, depth: int) -> _Node:
    if isinstance(item, dict):
        inner = _object(item, pointer, depth + 1)
    elif isinstance(item, list):
        inner = _leaf(item, pointer)
    else:
        raise InvalidError.at(pointer, "must be an array of accepted values, or an object")
    return lambda value, budget: inner(
        value.get(key, _MISSING) if isinstance(value, dict) else _MISSING, budget
    )


def _or(item: Json, pointer: str, depth: int) -> _Node:
    if not isinstance(item, list) or len(item) < 2:  # noqa: PLR2004 - one alternative is none
        raise InvalidError.at(pointer, "must be an array of at least two objects")
    nodes = [
        _object(alternative, f"{pointer}/{index}", depth + 1)
        for index, alternative in enumerate(item)
    ]
    return lambda value, budget: max(node(value, budget) for node in nodes)


def _pay_for(value: Json, budget: Budget) -> None:
    """Pay for going over an array to find its leaves, or its objects."""
    if isinstance(value, list):
        budget.pay(len(value))
        for item in value:
            _pay_for(item, budget)


def _objects(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _leaves(value: Json) -> Iterator[Leaf]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif not isinstance(value, dict):
        yield value


def _leaf(accepted: list[Json], pointer: str) -> _Node:
    if not accepted:
        raise InvalidError.at(pointer, "must list at least one accepted value")
    plain: list[Leaf] = []
    tests: list[Test] = []
    takes_absence = False
    for index, item in enumerate(accepted):
        where = f"{pointer}/{index}"
        if isinstance(item, list):
            raise InvalidError.at(where, "must be a plain value or an operator, not an array")
        if not isinstance(item, dict):
            plain.append(item)
        elif _is_absence(item):
            takes_absence = True
        else:
            tests.append(compile_operator(item, where))
    if plain:
        tests.insert(0, any_of(plain))
    steps = 1 + _conditions(accepted)
    return lambda value, budget: _fit_leaves(
        tests, value, budget, steps=steps, takes_absence=takes_absence
    )


def _fit_leaves(
    tests: list[Test], value: Json, budget: Budget, *, steps: int, takes_absence: bool
) -> _Fit:
    _pay_for(value, budget)
    absent = True
    for leaf in _leaves(value):
        absent = False
        budget.pay(steps)
        if isinstance(leaf, str):
            budget.pay(steps * len(leaf) // _CHARS_PER_STEP)
        for test in tests:
            if test(leaf):
                return _BY_PRESENCE
    return _BY_ABSENCE if absent and takes_absence else _NO


def _is_absence(item: dict[str, Json]) -> bool:
    return len(item) == 1 and item.get("exists") is False
