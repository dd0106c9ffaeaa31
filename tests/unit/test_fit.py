"""Values that do not fit their type, and where the fault is pointed at."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from signalstack.core.errors import InvalidError
from signalstack.core.fit import fit


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Box(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[Size | None, msgspec.Meta(description="how large")] = None


Code = Annotated[str, msgspec.Meta(pattern="^[A-Z]$", extra={"says": "must be a capital letter"})]


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    items: list[Inner] = []
    from_: str = msgspec.field(name="from", default="")
    note: str = ""
    box: Box | None = None
    pace: Literal["slow", "fast"] = "slow"
    sizes: list[Size] = []
    code: Annotated[Code | None, msgspec.Meta(description="which one")] = None
    codes: tuple[Code, ...] = ()
    own: Annotated[str, msgspec.Meta(pattern="^[a-z]$", extra={"column": 7})] = "a"

    def __post_init__(self) -> None:
        if self.note:
            raise ValueError(self.note)


@pytest.mark.parametrize(
    ("value", "pointer", "detail"),
    [
        (7, "/payload", "Expected `object`, got `int`"),
        ({"x": 1}, "/payload/x", "unknown field"),
        ({"items": [{"size": 1}, {}]}, "/payload/items/1/size", "required field is missing"),
        ({"items": [{"size": "1"}]}, "/payload/items/0/size", "Expected `int`, got `str`"),
        ({"box": {"size": "huge"}}, "/payload/box/size", "'huge' is none of small, large"),
        ({"pace": "idle"}, "/payload/pace", "'idle' is none of slow, fast"),
        ({"sizes": ["small", "huge"]}, "/payload/sizes/1", "'huge' is none of small, large"),
        ({"code": "a"}, "/payload/code", "must be a capital letter"),
        ({"codes": ["A", "b"]}, "/payload/codes/1", "must be a capital letter"),
        ({"own": "A"}, "/payload/own", "Expected `str` matching regex '^[a-z]$'"),
        ({"note": "from: is too early"}, "/payload/from", "is too early"),
        ({"note": "from_: is no name in JSON"}, "/payload", "from_: is no name in JSON"),
        ({"note": "give less"}, "/payload", "give less"),
        ({"note": "note:"}, "/payload", "note:"),
    ],
)
def test_fault_is_pointed_at(value: Any, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidError) as caught:
        fit(value, Order, "/payload")

    (fault,) = caught.value.faults
    assert (fault.pointer, fault.detail) == (pointer, detail)


class Stock(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    by_shelf: dict[int, Inner]
    rest: msgspec.Raw


def test_what_a_worker_reads_from_json_fits() -> None:
    fitting = fit({"by_shelf": {"7": {"size": 1}}, "rest": [1]}, Stock)

    assert (fitting.by_shelf, bytes(fitting.rest)) == ({7: Inner(size=1)}, b"[1]")
    assert fit({"7": 1}, dict[int, int]) == {7: 1}
    with pytest.raises(InvalidError) as caught:
        fit({"by_shelf": {"7": 1}, "rest": None}, Stock, "/payload")
    assert caught.value.faults[0].pointer == "/payload/by_shelf"


def test_what_is_no_struct_is_pointed_at_as_a_whole() -> None:
    with pytest.raises(InvalidError) as caught:
        fit("a", int)

    assert caught.value.faults[0].pointer == ""
