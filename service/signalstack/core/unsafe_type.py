"""Finds the types whose mere decoder corrupts memory in msgspec 0.22, without making one.

`msgspec.inspect` would be the place to ask, but makes a decoder itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from types import UnionType
from typing import Annotated, Final, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

_UNIONS: Final = (Union, UnionType)
_TEXTS: Final = (str, bytes, bytearray, memoryview)


def has_unsafe_union(payload: object) -> bool:
    """Tell whether a type has, anywhere, a union of a patterned string and a list, set or dict.

    (Measured with PYTHONMALLOC=debug; fixed tuples, structs and scalars do no harm there.)

    Raises:
        NameError: an annotation cannot be resolved.
    """
    seen: set[int] = set()
    left = [payload]
    while left:
        found = _named(left.pop())
        if id(found) in seen:
            continue
        seen.add(id(found))
        if _is_unsafe(found):
            return True
        left += get_args(found)
        left += _field_types(get_origin(found) or found)
    return False


def _is_unsafe(found: object) -> bool:
    members = list(_members(found, patterned=False))
    return any(patterned for _, patterned in members) and any(
        _is_container(member) for member, _ in members
    )


def _members(found: object, *, patterned: bool) -> Iterator[tuple[object, bool]]:
    """Yield each member of a union, or the type itself, and whether it has a pattern as a text."""
    found = _named(found)
    if get_origin(found) is Annotated:
        inner, *metas = get_args(found)
        patterned |= any(isinstance(meta, msgspec.Meta) and meta.pattern for meta in metas)
        yield from _members(inner, patterned=patterned)
    elif get_origin(found) in _UNIONS:
        for member in get_args(found):
            yield from _members(member, patterned=patterned)
    else:
        yield found, patterned and found is str


def _is_container(member: object) -> bool:
    kind: object = get_origin(member) or member
    if not isinstance(kind, type) or _is_named_tuple(member) or issubclass(kind, _TEXTS):
        return False
    if kind is tuple:
        arguments = get_args(member)
        return not arguments or ... in arguments
    return issubclass(kind, Collection)


def _is_named_tuple(kind: object) -> bool:
    return hasattr(kind, "_fields")


def _named(found: object) -> object:
    """Look behind a NewType or a type alias."""
    while (inner := getattr(found, "__supertype__", None) or _alias(found)) is not None:
        found = inner
    return found


def _alias(found: object) -> object:
    return getattr(found, "__value__", None) if type(found).__name__ == "TypeAliasType" else None


def _field_types(kind: object) -> list[object]:
    if not isinstance(kind, type):
        return []
    made = cast("type[object]", kind)
    has_fields = (
        issubclass(made, msgspec.Struct)
        or dataclasses.is_dataclass(made)
        or is_typeddict(made)
        or _is_named_tuple(made)
        or hasattr(made, "__attrs_attrs__")
    )
    return list(get_type_hints(made, include_extras=True).values()) if has_fields else []
