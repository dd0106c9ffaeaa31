"""What is read as JSON, what is refused and where, and the one form that is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.document import MAX_DEPTH, Json, canonical, check, decode, pointer_to, restore
from signalstack.core.errors import InvalidError, MalformedError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_documents_survive_writing_and_reading(document: Json) -> None:
    written = canonical(document)

    assert decode(written) == document
    assert canonical(decode(written)) == written


@given(document=DOCUMENTS, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans())
def test_whitespace_and_escapes_do_not_change_what_is_read(
    *, document: Json, indent: int | None, ascii_only: bool
) -> None:
    written = json.dumps(document, indent=indent, ensure_ascii=ascii_only)

    assert decode(written.encode()) == json.loads(written)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        document = decode(data)
    except (MalformedError, InvalidError):
        return
    assert json.loads(data) == document


def test_documents_that_say_the_same_are_written_the_same() -> None:
    assert canonical(decode(b'{"b": 1, "a": "\\u0061"}')) == b'{"a":"a","b":1}'
    assert canonical(decode(b'{"a":"a","b":1}')) == b'{"a":"a","b":1}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"{'a':1}",
        b"01",
        b"1.",
        b"NaN",
        b"-Infinity",
        b"[1] [2]",
        b'"a\nb"',
        b'"\x00"',
        b"1\x00",
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'{"\xff":1}',
        b"\xff\xfe1\x00",
        b'"\\x"',
        b'"\\ud800',
    ],
)
def test_what_is_not_json_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(data)


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(MalformedError, match="byte order mark"):
        decode(b"\xef\xbb\xbf{}")


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        rb'{"a":1,"\u0061":2}',
        b'{"a" :1,"a"\n:2}',
        b'[{"x":{"a":{},"a":[]}}]',
        b'{"":1,"":2}',
        # Strings that look like members must not make up for the one that is gone.
        rb'{"a":"\":","a":"\":"}',
        b'{"a":": : :","a":1,"c":" :"}',
        rb'{"a\\":1,"a\\":2}',
        '{"é":1,"\\u00e9":2}'.encode(),
    ],
)
def test_a_repeated_key_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="occurs twice"):
        decode(data)


def test_a_repeated_key_is_pointed_at() -> None:
    with pytest.raises(MalformedError) as caught:
        decode(b'{"a":[0,{"b/c":1,"d":{},"b/c":2}]}')

    assert [fault.pointer for fault in caught.value.faults] == ["/a/1/b~1c"]


def test_doubles_that_grow_megabytes_when_written_out_are_refused() -> None:
    with pytest.raises(InvalidError, match="written out"):
        decode(b"[" + b"1e308," * 9_000 + b"0]")
    with pytest.raises(InvalidError, match="written out"):
        check({"a": [1e-300] * 9_000}, "/result")


def test_many_small_exponents_and_texts_like_numbers_are_read() -> None:
    measured = b"[" + b"1.6e-19," * 20_000 + b"0]"
    quoted = b"[" + b'"1e308",' * 9_000 + b"0]"

    assert len(decode(measured)) == len(decode(quoted)) + 11_000  # pyright: ignore[reportArgumentType] - both are lists


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\\u0061", '\\"', ":"]), SCALARS), max_size=4))
def test_keys_are_repeated_exactly_when_a_slow_reader_says_so(
    members: list[tuple[str, Json]],
) -> None:
    written = "{" + ",".join(f'"{key}" : {json.dumps(value)}' for key, value in members) + "}"
    keys: list[str] = json.loads(written, object_pairs_hook=lambda pairs: [key for key, _ in pairs])

    if len(set(keys)) < len(keys):
        with pytest.raises(MalformedError):
            decode(written.encode())
    else:
        assert decode(written.encode()) == json.loads(written)


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b'{"a":[0,9223372036854775808]}', "/a/1"),
        (b'{"a":-9223372036854775809}', "/a"),
        (b"1" + b"0" * 5_000, ""),
        (b'{"n":{"m":1e400}}', "/n/m"),
        (b"[1e131071]", "/0"),
        (b"-1e999", ""),
        (rb'{"a/b":"x\u0000y"}', "/a~1b"),
        (rb'{"k\u0000":1}', "/k\0"),
        (rb'{"a~":["\ud800"]}', "/a~0/0"),
        (rb'["\udc00\ud800"]', "/0"),
        (rb'{"\udfff":1}', "/?"),
    ],
)
def test_what_cannot_be_stored_is_invalid_and_pointed_at(data: bytes, pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        decode(data)

    assert [fault.pointer for fault in caught.value.faults] == [pointer]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1e308", 1e308),
        (b'"1000000000000000000000"', "1" + "0" * 21),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\\u0000"', r"\u0000"),
        (b" \r\n\t[ ] ", []),
    ],
)
def test_what_only_looks_wrong_is_read(data: bytes, value: Json) -> None:
    assert decode(data) == value


def test_documents_may_nest_as_deep_as_the_limit() -> None:
    assert decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 2_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deeper_documents_are_invalid(depth: int, opening: bytes, closing: bytes) -> None:
    with pytest.raises(InvalidError, match="64 deep"):
        decode(opening * depth + b"1" + closing * depth)


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"a": [1, float("nan")]}, "/result/a/1"),
        (float("inf"), "/result"),
        ({"a": "\ud800"}, "/result/a"),
        ({1: 2}, "/result/1"),
        ({"a": (1, 2)}, "/result/a"),
        ([{"x": 2**64}], "/result/0/x"),
        (b"bytes", "/result"),
    ],
)
def test_values_made_by_code_are_held_to_the_same_rules(value: object, pointer: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(value, "/result")

    assert caught.value.faults[0].pointer == pointer


def test_a_value_that_holds_itself_is_invalid() -> None:
    value: list[object] = []
    value.append(value)

    with pytest.raises(InvalidError, match="64 deep"):
        check(value)


@given(DOCUMENTS)
def test_values_that_can_be_read_pass_the_check(document: Json) -> None:
    check(document)


def test_doubles_that_jsonb_wrote_out_are_restored() -> None:
    assert restore({"a": [10**23, -(10**300), 2**63 - 1, True]}) == {
        "a": [1e23, -1e300, 2**63 - 1, True]
    }


def test_pointers_escape_their_two_special_characters() -> None:
    assert pointer_to("a/b", 0, "~") == "/a~1b/0/~0"
