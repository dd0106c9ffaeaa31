"""Whatever is fed to a decoder is taken or refused in its own words, within bounds; and kept."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzzing.decoders import DECODERS, Decoder
from fuzzing.inputs import VALUES, written
from signalstack.core import document
from signalstack.core.errors import SignalStackError
from signalstack.store import binary

_JSONB_ARRAY, _TEXT_ARRAY, _FLOAT8_ARRAY = 3807, 1009, 1022
FEW: Final = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
    derandomize=True,
)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_a_decoder_takes_or_refuses_whatever_comes(decoder: Decoder) -> None:
    @FEW
    @given(decoder.inputs)
    def run(given: Any) -> None:
        decoder.try_on(given)

    run()


def test_what_is_taken_as_json_is_kept_and_given_back_by_postgresql(database_url: str) -> None:
    taken: list[Any] = []

    @settings(FEW, max_examples=400)
    @given(written(VALUES))
    def gather(data: bytes) -> None:
        try:
            taken.append(document.decode(data))
        except SignalStackError:
            return

    gather()
    sent = binary.jsonb_array([document.canonical(one) for one in taken])
    with psycopg.connect(database_url) as conn:
        kept = _through_postgresql(conn, _JSONB_ARRAY, sent)

    assert len(taken) > 50
    given_back = [document.restore(json.loads(text or b"")) for text in kept]
    assert [_as_sent(*pair) for pair in zip(given_back, taken, strict=True)] == taken


def test_jsonb_gives_a_large_double_back_as_its_digits_and_no_negative_zero(
    database_url: str,
) -> None:
    sent = [document.decode(text) for text in (b"5.850023361743901e16", b"-0.0")]
    array = binary.jsonb_array([document.canonical(one) for one in sent])
    with psycopg.connect(database_url) as conn:
        kept = _through_postgresql(conn, _JSONB_ARRAY, array)

    assert kept == [b"58500233617439010", b"0.0"]
    assert [float(text or b"") for text in kept] == sent


def test_arrays_written_by_hand_are_read_as_postgresql_reads_them(database_url: str) -> None:
    texts: list[str | None] = []
    numbers: list[float | None] = []

    @settings(FEW, max_examples=200)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.floats())
    def gather(text: str, number: float) -> None:
        texts.extend((text, None))
        numbers.extend((number, None))

    gather()
    with psycopg.connect(database_url) as conn:
        seen_texts = _through_postgresql(conn, _TEXT_ARRAY, binary.text_array(texts))
        seen_numbers = _through_postgresql(conn, _FLOAT8_ARRAY, binary.float8_array(numbers))

    assert [None if x is None else x.decode() for x in seen_texts] == texts
    assert [repr(None if x is None else float(x)) for x in seen_numbers] == [
        repr(number) for number in numbers
    ]


def _as_sent(kept: Any, sent: Any) -> Any:
    """Read integers as doubles where doubles were sent; where integers were, they must be exact."""
    match sent:
        case float() if type(kept) is int:
            return float(kept)
        case int() if type(kept) is not type(sent):
            return None
        case list() if isinstance(kept, list):
            items, wanted = cast("list[Any]", kept), cast("list[Any]", sent)
            if len(items) != len(wanted):
                return items
            return [_as_sent(*pair) for pair in zip(items, wanted, strict=True)]
        case dict() if isinstance(kept, dict):
            members, asked = cast("dict[str, Any]", kept), cast("dict[str, Any]", sent)
            return {key: _as_sent(item, asked.get(key)) for key, item in members.items()}
        case _:
            return kept


def _through_postgresql(conn: psycopg.Connection, type_: int, array: bytes) -> list[bytes | None]:
    """Send an array as the dispatch path does, and read its elements back as text."""
    result = conn.pgconn.exec_params(b"SELECT unnest($1)::text", [array], [type_], [1])
    assert not result.error_message
    return [result.get_value(row, 0) for row in range(result.ntuples)]
