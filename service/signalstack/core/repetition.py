"""Finding the key that occurs twice in one object of a JSON document, and the way to it."""

from __future__ import annotations

import json
from typing import Final, TypeAlias, cast

_Node: TypeAlias = "_Members | list[_Node] | str | float | bool | None"

_SHOWN: Final = 100


class _Members(list[tuple[str, _Node]]):
    """An object as it was written: all its members, in order."""


def find_repeated(data: bytes) -> list[str | int]:
    """Give the way to the first key that occurs twice; empty when there is none.

    Args:
        data: JSON in UTF-8 that was decoded before, so that its depth is bounded.
    """
    document = cast("_Node", json.loads(data, object_pairs_hook=_Members))
    waiting: list[tuple[list[str | int], _Node]] = [([], document)]
    while waiting:
        path, node = waiting.pop(0)
        if isinstance(node, _Members):
            seen: set[str] = set()
            for key, _ in node:
                if key in seen:
                    return [*path, key]
                seen.add(key)
            waiting.extend(([*path, key], item) for key, item in node)
        elif isinstance(node, list):
            waiting.extend(([*path, index], item) for index, item in enumerate(node))
    return []


def shown(key: str | int) -> str:
    """Quote a key for an error's sentence, a bounded part of it."""
    return json.dumps(str(key)[:_SHOWN])
