"""Which events match: types, and filters with EventBridge's meaning."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import Bounded
from signalstack.core.budget import STEPS, Budget, CostError
from signalstack.core.errors import InvalidError
from signalstack.core.pattern import (
    MAX_CONDITIONS,
    MAX_FILTER_DEPTH,
    check_event_type,
    compile_filter,
    matches_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.core.document import Json


def _accepts(pattern: Json, payload: Json) -> bool:
    return compile_filter(pattern)(payload, Budget())


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("order.paid", "order.paid", True),
        ("order.paid", "order.paid.late", False),
        ("order.paid", "Order.paid", False),
        ("order.*", "order.paid", True),
        ("order.*", "order.paid.late", True),
        ("order.*", "order", False),
        ("order.*", "orders.paid", False),
        ("ord*", "orders.paid", True),
        ("*", "anything", True),
        ("a.b", "axb", False),
    ],
)
def test_a_type_is_exact_or_a_prefix(pattern: str, event_type: str, *, expected: bool) -> None:
    check_event_type(pattern)

    assert matches_type(pattern, event_type) is expected


@pytest.mark.parametrize("pattern", ["", "a*b", "*.paid", "**", "a b", "a\n", "\0", "a" * 256])
def test_other_types_are_invalid(pattern: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_event_type(pattern)

    assert caught.value.faults[0].pointer == "/event_type"


PAYLOAD: Json = {
    "state": "running",
    "count": 5,
    "price": 301.8,
    "whole": 300.0,
    "big": 2**63 - 1,
    "vip": True,
    "note": None,
    "empty": "",
    "tags": ["new", "Sale", 7],
    "none": [],
    "void": {},
    "file": {"name": "dir/a*b\\c.PNG", "size": 0},
    "employees": [
        {"first": "Anna", "last": "Smith", "age": 30},
        [{"first": "Peter", "last": "Jones"}],
        "nobody",
    ],
    "a.b": "dotted",
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        # plain values
        ({"state": ["running"]}, True),
        ({"state": ["stopped", "running"]}, True),
        ({"state": ["Running"]}, False),
        ({"state": ["running"], "count": [6]}, False),
        ({"count": [5.0]}, True),
        ({"whole": [300]}, True),
        ({"count": ["5"]}, False),
        ({"big": [2**63 - 1]}, True),
        ({"big": [2**63 - 2]}, False),
        ({"vip": [True]}, True),
        ({"vip": [1]}, False),
        ({"vip": ["true"]}, False),
        ({"file": {"size": [False]}}, False),
        ({"note": [None]}, True),
        ({"missing": [None]}, False),
        ({"note": [""]}, False),
        ({"empty": [""]}, True),
        ({"void": [None]}, False),
        ({"a.b": ["dotted"]}, True),
        ({"file.size": [0]}, False),
        # arrays
        ({"tags": ["new"]}, True),
        ({"tags": ["old", 7]}, True),
        ({"tags": ["7"]}, False),
        ({"none": ["new"]}, False),
        ({"employees": {"first": ["Peter"]}}, True),
        ({"employees": {"first": ["Anna"], "last": ["Smith"]}}, True),
        ({"employees": {"first": ["Anna"], "last": ["Jones"]}}, False),
        ({"employees": ["nobody"]}, True),
        # text operators
        ({"state": [{"prefix": "run"}]}, True),
        ({"state": [{"prefix": "Run"}]}, False),
        ({"state": [{"prefix": {"equals-ignore-case": "RUN"}}]}, True),
        ({"count": [{"prefix": "5"}]}, False),
        ({"tags": [{"suffix": "ale"}]}, True),
        ({"file": {"name": [{"suffix": ".png"}]}}, False),
        ({"file": {"name": [{"suffix": {"equals-ignore-case": ".png"}}]}}, True),
        ({"state": [{"equals-ignore-case": "RUNNING"}]}, True),
        ({"state": [{"equals-ignore-case": "RUN"}]}, False),
        ({"note": [{"equals-ignore-case": "null"}]}, False),
        ({"file": {"name": [{"wildcard": "dir/*.PNG"}]}}, True),
        ({"file": {"name": [{"wildcard": "*/a\\*b\\\\c*"}]}}, True),
        ({"file": {"name": [{"wildcard": "*/a\\**"}]}}, True),
        ({"file": {"name": [{"wildcard": "a*"}]}}, False),
        ({"state": [{"wildcard": "running"}]}, True),
        ({"state": [{"wildcard": "*n*n*n*"}]}, True),
        ({"state": [{"wildcard": "*n*n*n*n*"}]}, False),
        ({"state": [{"wildcard": "runn*nning"}]}, False),
        ({"empty": [{"wildcard": "*"}]}, True),
        # numeric
        ({"count": [{"numeric": [">", 0, "<=", 5]}]}, True),
        ({"count": [{"numeric": [">", 0, "<", 5]}]}, False),
        ({"count": [{"numeric": [">=", 5]}]}, True),
        ({"price": [{"numeric": ["=", 3.018e2]}]}, True),
        ({"price": [{"numeric": ["<", 301]}]}, False),
        ({"vip": [{"numeric": ["=", 1]}]}, False),
        ({"state": [{"numeric": [">", 0]}]}, False),
        ({"tags": [{"numeric": [">", 6]}]}, True),
        # exists
        ({"count": [{"exists": True}]}, True),
        ({"count": [{"exists": False}]}, False),
        ({"missing": [{"exists": True}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"note": [{"exists": True}]}, True),
        ({"file": [{"exists": True}]}, False),
        ({"file": [{"exists": False}]}, True),
        ({"none": [{"exists": True}]}, False),
        ({"none": [{"exists": False}]}, True),
        ({"tags": [{"exists": True}]}, True),
        ({"missing": {"deep": [{"exists": False}]}}, True),
        ({"state": {"deep": [{"exists": False}]}}, True),
        ({"missing": {"deep": [{"exists": True}]}}, False),
        ({"missing": [{"exists": False}, "x"]}, True),
        ({"count": [{"exists": False}, 5]}, True),
        ({"employees": {"age": [{"exists": False}]}}, False),
        ({"employees": {"last": ["Jones"], "age": [{"exists": False}]}}, True),
        ({"employees": {"last": ["Smith"], "age": [{"exists": False}]}}, False),
        ({"employees": {"salary": [{"exists": False}]}}, True),
        # anything-but
        ({"state": [{"anything-but": "stopped"}]}, True),
        ({"state": [{"anything-but": "running"}]}, False),
        ({"state": [{"anything-but": ["running", "stopped"]}]}, False),
        ({"count": [{"anything-but": 5}]}, False),
        ({"count": [{"anything-but": [100, 200]}]}, True),
        ({"count": [{"anything-but": "5"}]}, True),
        ({"note": [{"anything-but": "x"}]}, True),
        ({"missing": [{"anything-but": "x"}]}, False),
        ({"tags": [{"anything-but": "new"}]}, True),
        ({"state": [{"anything-but": {"prefix": "run"}}]}, False),
        ({"state": [{"anything-but": {"prefix": ["a", "b"]}}]}, True),
        ({"state": [{"anything-but": {"suffix": "ing"}}]}, False),
        ({"state": [{"anything-but": {"equals-ignore-case": ["RUNNING"]}}]}, False),
        ({"state": [{"anything-but": {"wildcard": "*n*"}}]}, False),
        ({"count": [{"anything-but": {"prefix": "5"}}]}, True),
        # $or
        ({"$or": [{"state": ["x"]}, {"count": [5]}]}, True),
        ({"$or": [{"state": ["x"]}, {"count": [6]}]}, False),
        ({"state": ["running"], "$or": [{"count": [6]}, {"vip": [True], "note": [None]}]}, True),
        ({"$or": [{"state": ["x"]}, {"$or": [{"count": [6]}, {"vip": [True]}]}]}, True),
        ({"file": {"$or": [{"size": [1]}, {"name": [{"prefix": "dir"}]}]}}, True),
        ({"employees": {"first": ["Anna"], "$or": [{"last": ["Jones"]}, {"age": [31]}]}}, False),
        ({"employees": {"first": ["Anna"], "$or": [{"last": ["Jones"]}, {"age": [30]}]}}, True),
    ],
)
def test_a_filter_matches_as_eventbridge_would(pattern: Json, *, expected: bool) -> None:
    assert _accepts(pattern, PAYLOAD) is expected


def test_a_large_double_survives_the_way_through_jsonb() -> None:
    assert _accepts({"a": [10**23]}, {"a": 1e23})

    written_out: list[Json] = [10**300]
    assert _accepts({"a": written_out * 2_000}, {"a": 1e300})


@pytest.mark.parametrize("payload", [None, 5, "text", [], [1, "text"]])
def test_a_payload_without_fields_matches_only_what_must_be_missing(payload: Json) -> None:
    assert _accepts({"a": [{"exists": False}]}, payload)
    assert not _accepts({"a": [1, None, {"anything-but": 2}]}, payload)


def test_a_payload_that_is_an_array_matches_by_one_of_its_objects() -> None:
    assert _accepts({"a": [1], "b": [2]}, [{"a": 1}, {"a": 1, "b": 2}])
    assert not _accepts({"a": [1], "b": [2]}, [{"a": 1}, {"b": 2}])


MALFORMED: list[tuple[Json, str]] = [
    (None, ""),
    ([], ""),
    ("x", ""),
    ({}, ""),
    ({"a": {}}, "/a"),
    ({"a": []}, "/a"),
    ({"a": "x"}, "/a"),
    ({"a": 5}, "/a"),
    ({"a": None}, "/a"),
    ({"a/b": {"c~": 5}}, "/a~1b/c~0"),
    ({"a": [["x"]]}, "/a/0"),
    ({"a": ["x", {}]}, "/a/1"),
    ({"a": [{"prefix": "a", "suffix": "b"}]}, "/a/0"),
    ({"a": [{"regex": ".*"}]}, "/a/0"),
    ({"a": [{"prefix": 5}]}, "/a/0/prefix"),
    ({"a": [{"prefix": {"suffix": "x"}}]}, "/a/0/prefix"),
    ({"a": [{"prefix": {"equals-ignore-case": 1}}]}, "/a/0/prefix/equals-ignore-case"),
    ({"a": [{"equals-ignore-case": ["x"]}]}, "/a/0/equals-ignore-case"),
    ({"a": [{"wildcard": "a**"}]}, "/a/0/wildcard"),
    ({"a": [{"wildcard": "a\\b"}]}, "/a/0/wildcard"),
    ({"a": [{"wildcard": "a\\"}]}, "/a/0/wildcard"),
    ({"a": [{"numeric": []}]}, "/a/0/numeric"),
    ({"a": [{"numeric": [">"]}]}, "/a/0/numeric"),
    ({"a": [{"numeric": 5}]}, "/a/0/numeric"),
    ({"a": [{"numeric": ["!=", 5]}]}, "/a/0/numeric/0"),
    ({"a": [{"numeric": [">", "5"]}]}, "/a/0/numeric/0"),
    ({"a": [{"numeric": [">", True]}]}, "/a/0/numeric/0"),
    ({"a": [{"numeric": [">", 5, "!", 6]}]}, "/a/0/numeric/2"),
    ({"a": [{"numeric": ["<", 5, ">", 1]}]}, "/a/0/numeric"),
    ({"a": [{"numeric": [">", 5, "<", 5]}]}, "/a/0/numeric"),
    ({"a": [{"numeric": ["=", 5, "<", 6]}]}, "/a/0/numeric"),
    ({"a": [{"exists": 0}]}, "/a/0/exists"),
    ({"a": [{"exists": None}]}, "/a/0/exists"),
    ({"a": [{"anything-but": []}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": None}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": [1, "a"]}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": [True]}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": {"numeric": [">", 1]}}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": {}}]}, "/a/0/anything-but"),
    ({"a": [{"anything-but": {"prefix": []}}]}, "/a/0/anything-but/prefix"),
    ({"a": [{"anything-but": {"prefix": ["x", 1]}}]}, "/a/0/anything-but/prefix/1"),
    ({"$or": {}}, "/$or"),
    ({"$or": [{"a": [1]}]}, "/$or"),
    ({"$or": [{"a": [1]}, 5]}, "/$or/1"),
    ({"$or": [{"a": [1]}, {"b": 1}]}, "/$or/1/b"),
]


@pytest.mark.parametrize(("pattern", "pointer"), MALFORMED)
def test_a_malformed_filter_is_invalid_where_it_is_wrong(pattern: Json, pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        compile_filter(pattern, "/filter")

    assert [fault.pointer for fault in caught.value.faults] == ["/filter" + pointer]


def test_filters_are_bounded_in_size_depth_and_number_of_conditions() -> None:
    deep: Json = ["x"]
    for _ in range(MAX_FILTER_DEPTH + 1):
        deep = {"a": deep}
    many: list[Json] = [{"prefix": str(n)} for n in range(MAX_CONDITIONS)]
    operands: list[Json] = [str(n) for n in range(MAX_CONDITIONS)]
    refused: list[tuple[Json, str]] = [
        (deep, "deep"),
        ({"a": ["x" * 20_000]}, "bytes"),
        ({"a": many}, "conditions"),
        ({"a": [{"anything-but": {"wildcard": operands}}]}, "conditions"),
    ]

    for pattern, reason in refused:
        with pytest.raises(InvalidError, match=reason):
            compile_filter(pattern)
    assert _accepts({"a": list(operands) * 5}, {"a": "99"})
    assert not _accepts({"a": [{"anything-but": list(operands) * 5}]}, {"a": "99"})


def test_a_hostile_wildcard_comes_to_an_end() -> None:
    hostile = "*a" * 500 + "*b"

    assert not _accepts({"a": [{"wildcard": hostile}]}, {"a": "a" * 200_000})


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"a": [1] * 5_000}, id="leaves"),
        pytest.param({"a": [[[1] * 1_000] * 5]}, id="nested"),
        pytest.param({"a": "x" * 600_000}, id="text"),
    ],
)
def test_a_filter_pays_for_each_condition_on_each_leaf(payload: Json) -> None:
    few: Json = {"a": [{"prefix": "-"}]}
    many: Json = {"a": [{"prefix": f"-{n}"} for n in range(MAX_CONDITIONS // 2 - 1)]}

    assert not _accepts(few, payload)
    with pytest.raises(CostError):
        _accepts(many, payload)


def test_a_filter_goes_no_further_than_it_can_pay() -> None:
    empty: list[Json] = [[]]
    payload: Json = {"a": [empty * 1_000 for _ in range(200)]}
    accepts = compile_filter({"a": [1]})

    with pytest.raises(CostError), Bounded(6 * 2_000):
        accepts(payload, Budget(2_000))


def test_a_filter_pays_for_each_object_of_an_array() -> None:
    pattern: Json = {"a": {f"k{n}": [{"exists": False}] for n in range(10)}}
    empty: list[Json] = [{}]
    budget = Budget()

    assert compile_filter(pattern)({"a": empty * 1_000}, budget)

    assert 10_000 < STEPS - budget.left < 30_000


@given(
    st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4),
    st.text("ab", max_size=8),
)
def test_wildcards_equal_a_slow_reader(parts: list[str], text: str) -> None:
    parts = [parts[0], *(part or "a" for part in parts[1:-1]), *parts[1:][-1:]]

    pattern = "*".join(parts)
    assert _accepts({"k": [{"wildcard": pattern}]}, {"k": text}) is _slow_wildcard(pattern, text)


def _slow_wildcard(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_slow_wildcard(pattern[1:], text[n:]) for n in range(len(text) + 1))
    return text[:1] == pattern[0] and _slow_wildcard(pattern[1:], text[1:])


# The reference flattens the payload into fields that know which array elements they are in, as
# event-ruler does, and tries every choice of one field for each condition.

KEYS = st.sampled_from(["a", "b"])
LEAVES = st.sampled_from([None, True, 1, "x", "y"])
PAYLOADS = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=2),
    max_leaves=8,
).map(lambda value: {"a": value})
ACCEPTED = st.lists(
    LEAVES | st.sampled_from([{"exists": True}, {"exists": False}, {"anything-but": "x"}]),
    min_size=1,
    max_size=2,
)
PATTERNS = st.recursive(
    st.dictionaries(KEYS, ACCEPTED, min_size=1, max_size=2),
    lambda below: st.dictionaries(KEYS, below | ACCEPTED, min_size=1, max_size=2),
    max_leaves=4,
)

Path = tuple[str, ...]
Place = dict[int, int]


@given(PATTERNS, PAYLOADS)
def test_filters_equal_a_slow_reader(pattern: dict[str, Json], payload: Json) -> None:
    assert _accepts(pattern, payload) is _slow_match(pattern, payload)


def _slow_match(pattern: dict[str, Json], payload: Json) -> bool:
    fields = list(_fields(payload, (), {}))
    conditions = list(_conditions(pattern, ()))
    choices = [
        [
            *(
                (place, value)
                for at, value, place in fields
                if at == path and _fits(value, accepted)
            ),
            *([None] if {"exists": False} in accepted else []),
        ]
        for path, accepted in conditions
    ]
    return any(_is_consistent(choice, conditions, fields) for choice in product(*choices))


def _is_consistent(
    choice: tuple[tuple[Place, Json] | None, ...],
    conditions: list[tuple[Path, list[Json]]],
    fields: list[tuple[Path, Json, Place]],
) -> bool:
    together: Place = {}
    for chosen in choice:
        if chosen is not None:
            if not _agree(together, chosen[0]):
                return False
            together |= chosen[0]
    return not any(
        chosen is None and at == path and _agree(together, place)
        for chosen, (path, _) in zip(choice, conditions, strict=True)
        for at, _, place in fields
    )


def _agree(one: Place, other: Place) -> bool:
    return all(other.get(array, index) == index for array, index in one.items())


def _fits(value: Json, accepted: list[Json]) -> bool:
    return any(
        item == {"exists": True}
        or (item == {"anything-but": "x"} and value != "x")
        or (type(item) is type(value) and item == value)
        for item in accepted
    )


def _conditions(pattern: dict[str, Json], path: Path) -> Iterator[tuple[Path, list[Json]]]:
    for key, item in pattern.items():
        if isinstance(item, dict):
            yield from _conditions(item, (*path, key))
        elif isinstance(item, list):
            yield (*path, key), item


def _fields(value: Json, path: Path, place: Place) -> Iterator[tuple[Path, Json, Place]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, (*path, key), place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            inside = place | {id(value): index} if isinstance(item, dict | list) else place
            yield from _fields(item, path, inside)
    else:
        yield path, value, place
