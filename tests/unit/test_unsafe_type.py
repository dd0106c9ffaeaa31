"""Types that msgspec cannot decode without harm are found wherever they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest

from signalstack.api import app
from signalstack.core.unsafe_type import has_unsafe_union

Code = Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]
Short = Annotated[str, msgspec.Meta(max_length=5)]


class Row(NamedTuple):
    number: int


@dataclass
class Plain:
    value: Code | list[int]


class Typed(TypedDict):
    value: NotRequired[Code | list[int]]


class Deep(msgspec.Struct):
    rows: dict[str, list[Code | list[int] | None]]


class Itself(msgspec.Struct):
    code: Code
    next: Itself | None = None


@pytest.mark.parametrize(
    "type_",
    [
        Code | list[str],
        Code | set[int],
        Code | frozenset[int],
        Code | tuple[int, ...],
        Code | dict[str, int],
        Code | Annotated[list[int], msgspec.Meta(max_length=3)],
        Code | Sequence[int],
        Code | list,
        Annotated[str | list[str], msgspec.Meta(pattern="a")],
        Plain,
        Typed,
        Deep,
        tuple[int, Deep | None],
    ],
)
def test_pattern_beside_a_container_is_found(type_: Any) -> None:
    assert has_unsafe_union(type_)


@pytest.mark.parametrize(
    "type_",
    [
        Code | None,
        Short | list[str],
        Code | int,
        Code | Row,
        Code | tuple[int, str],
        list[Code],
        dict[Code, int],
        Itself,
        Any,
    ],
)
def test_other_types_are_let_through(type_: Any) -> None:
    assert not has_unsafe_union(type_)


def test_no_body_or_query_of_ours_is_one() -> None:
    for operation in app.OPERATIONS:
        assert not has_unsafe_union(operation.body)
        assert not has_unsafe_union(operation.query)
