"""What templates make of an event, and what they may not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import Bounded
from signalstack.core.budget import STEPS, Budget
from signalstack.core.errors import InvalidError
from signalstack.core.template import compile_template, render

if TYPE_CHECKING:
    from signalstack.core.document import Json

PAYLOAD: Json = {
    "customer": "c-1",
    "total": 12.5,
    "items": [{"sku": "a", "n": 2}, {"sku": "b", "n": 1}],
    "a-b": {"c d": True},
    "note": None,
}
EVENT: dict[str, Json] = {
    "id": "0195a3b0-0000-7000-8000-000000000000",
    "type": "order.paid",
    "source": "/shop",
    "subject": None,
    "external_id": "17",
    "occurred_at": "2026-03-01T12:00:00.005000Z",
    "payload": PAYLOAD,
}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def _render(template: Json, event: dict[str, Json] | None = None) -> Json:
    return render(compile_template(template), EVENT if event is None else event, Budget())


def _fault(template: Json, event: dict[str, Json] | None = None) -> str:
    with pytest.raises(InvalidError) as caught:
        _render(template, event)
    return caught.value.faults[0].pointer


def test_no_template_is_the_event_itself() -> None:
    assert _render(None) == EVENT


@pytest.mark.parametrize(
    ("template", "outcome"),
    [
        ({"$": "payload.customer"}, "c-1"),
        ({"$": "type"}, "order.paid"),
        ({"$": "@"}, EVENT),
        ({"$": "payload.missing.deeper"}, None),
        ({"$": "payload.note"}, None),
        ({"$": "payload.items[*].sku"}, ["a", "b"]),
        ({"$": "payload.items[?n > `1`] | [0].sku"}, "a"),
        ({"$": "payload.items[?sku == 'b'].n | [0]"}, 1),
        ({"$": 'payload."a-b"."c d"'}, True),
        ({"$": "sum(payload.items[*].n)"}, 3),
        ({"$": "join('-', payload.items[*].sku)"}, "a-b"),
        (
            {"$": "{who: payload.customer, at: occurred_at}"},
            {"who": "c-1", "at": EVENT["occurred_at"]},
        ),
        (
            {"to": {"$": "payload.customer"}, "body": ["x", {"$": "id"}]},
            {"to": "c-1", "body": ["x", EVENT["id"]]},
        ),
        ({"$": "id", "other": 1}, {"$": "id", "other": 1}),
        ({"nested": {"a": [[{"$": "source"}]]}}, {"nested": {"a": [["/shop"]]}}),
        ({"$$": "payload"}, {"$": "payload"}),
        ({"$$$": {"$": "type"}}, {"$$": "order.paid"}),
        ({"$$": {"$$": 1}}, {"$": {"$": 1}}),
        ({"$$": 1, "a": 2}, {"$$": 1, "a": 2}),
        ({}, {}),
        ([], []),
        ("$", "$"),
        (0, 0),
        (False, False),
    ],
)
def test_a_template_is_filled_in_from_the_event(template: Json, outcome: Json) -> None:
    assert _render(template) == outcome


@given(
    st.lists(st.sampled_from(["a", "b", "c d"]), min_size=1, max_size=4),
    st.dictionaries(
        st.sampled_from(["a", "b", "c d"]),
        st.recursive(
            st.none() | st.booleans() | TEXT,
            lambda below: (
                st.lists(below, max_size=2)
                | st.dictionaries(st.sampled_from(["a", "b", "c d"]), below, max_size=3)
            ),
        ),
        max_size=3,
    ),
)
def test_a_path_finds_what_jmespath_finds(path: list[str], event: dict[str, Json]) -> None:
    expression = ".".join(f'"{name}"' for name in path)

    assert _render({"$": expression}, event) == jmespath.search(expression, event)


@given(
    st.recursive(st.none() | st.integers(0, 9) | TEXT, lambda below: st.lists(below, max_size=3))
)
def test_json_without_marks_stands_for_itself(template: Json) -> None:
    if template is not None:
        assert _render({"a": template}) == {"a": template}


def test_a_large_double_survives_the_way_through_jsonb() -> None:
    assert _render({"a": 10**23}) == {"a": 1e23}


@pytest.mark.parametrize(
    ("template", "pointer"),
    [
        ({"$": ""}, "/$"),
        ({"$": "payload."}, "/$"),
        ({"$": "payload["}, "/$"),
        ({"$": "a b"}, "/$"),
        ({"$": "#"}, "/$"),
        ({"$": "nosuch(payload)"}, "/$"),
        ({"$": "a.nosuch(b)[*].c"}, "/$"),
        ({"$": 5}, "/$"),
        ({"$": None}, "/$"),
        ({"$": {"$": "type"}}, "/$"),
        ({"a/b": [1, {"$": "("}]}, "/a~1b/1/$"),
        ({"$$": {"$": "("}}, "/$$/$"),
        ({"$": "a" * 1_001}, "/$"),
        ({"$": "(" * 900}, "/$"),
        ({"$": "!" * 900 + "a"}, "/$"),
        ({"a": "x" * 70_000}, ""),
    ],
)
def test_a_malformed_template_is_invalid_when_it_is_made(template: Json, pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        compile_template(template)

    assert caught.value.faults[0].pointer == "/job/payload" + pointer
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(payload.customer)",
        "length(payload.total)",
        "abs(payload.items)",
        "sort_by(payload.items, &missing)",
        "abs(payload.total, payload.total)",
        "join(payload.total)",
        "join(payload.items, payload.customer)",
        "payload.items[::0]",
        "ceil(to_number('inf'))",
        "max_by(payload.items, &@)",
        "payload.items | map(&abs(sku), @)",
    ],
)
def test_what_an_expression_cannot_take_is_an_error_where_it_stands(expression: str) -> None:
    assert _fault({"a": [{"$": expression}]}) == "/job/payload/a/0/$"


@pytest.mark.parametrize(
    "expression",
    [
        *("to_number('inf')", "to_number('nan')", "`1e999`", "to_number('9999999999999999999')"),
        *("&type", "{a: [&type]}", '`"\\u0000"`', '`"\\ud800"`'),
    ],
)
def test_what_cannot_be_stored_is_an_error(expression: str) -> None:
    assert _fault({"a": {"$": expression}}).startswith("/job/payload/a")


def test_an_outcome_that_nests_too_deep_is_an_error() -> None:
    deep: Json = 1
    for _ in range(60):
        deep = [deep]

    assert _fault({"a": {"b": {"c": [[{"$": "payload"}]]}}}, {"payload": deep}).startswith(
        "/job/payload/a/b/c/0/0"
    )


def test_an_outcome_that_is_too_large_is_an_error() -> None:
    event: dict[str, Json] = {"payload": "x" * 200_000}

    assert _render({"a": {"$": "payload"}}, event) == {"a": "x" * 200_000}
    assert _fault([{"$": "payload"}, {"$": "payload"}], event) == "/job/payload"


_CALLS_A_STEP = 6
HOSTILE = [
    " | ".join(["[@, @]"] * 100),
    " | ".join(["[@, @][]"] * 80),
    " | ".join(["{a: @, b: @}"] * 60),
    " | ".join(["join('', [to_string(@), to_string(@)])"] * 20),
    "join(to_string(payload), map(&'', payload))",
    "[" + ",".join(["sum(payload)"] * 70) + "]",
    "[" + ",".join(["payload == payload"] * 45) + "]",
    "[" + ",".join(["sort(payload)"] * 60) + "]",
    "payload[*].[@, @, @, @, @, @, @, @]",
    " | ".join(["[@, @]"] * 40) + " | @ == @",
    "payload[?contains(['" + "x" * 800 + "'], to_string(@))]",
    "payload[*].join('', ['" + "x" * 800 + "', 'y'])",
]


@pytest.mark.parametrize("expression", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_are_stopped_soon(expression: str) -> None:
    ones: list[Json] = [1]
    event: dict[str, Json] = {"payload": ones * 60_000}

    with (
        pytest.raises(InvalidError, match="costs too much"),
        Bounded(_CALLS_A_STEP * STEPS),
    ):
        _render({"$": expression}, event)


def test_a_large_event_is_affordable() -> None:
    items: Json = [{"sku": f"s-{n}", "n": n} for n in range(4_000)]
    event: dict[str, Json] = {"payload": {"items": items, "text": "x" * 100_000}}

    outcome = _render({"$": "{skus: payload.items[?n >= `3999`].sku, text: payload.text}"}, event)

    assert outcome == {"skus": ["s-3999"], "text": "x" * 100_000}
