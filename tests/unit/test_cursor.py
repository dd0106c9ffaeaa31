"""Cursors lead on for whom they were made, and for nobody else."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.cursor import Cursors
from signalstack.core.errors import MalformedError
from signalstack.core.ids import new_id

if TYPE_CHECKING:
    from uuid import UUID

CURSORS = Cursors(b"k" * 32)
TENANT = new_id()
LAST = new_id()


@given(last=st.uuids(), tenant=st.uuids(), scope=st.binary(max_size=100))
def test_a_cursor_gives_back_the_id_it_was_made_of(last: UUID, tenant: UUID, scope: bytes) -> None:
    cursor = CURSORS.seal(last, user_id=tenant, scope=scope)

    assert CURSORS.unseal(cursor, user_id=tenant, scope=scope) == last


def test_a_cursor_is_the_same_in_every_process_that_has_the_key() -> None:
    cursor = CURSORS.seal(LAST, user_id=TENANT, scope=b"jobs")

    assert Cursors(b"k" * 32).unseal(cursor, user_id=TENANT, scope=b"jobs") == LAST


@given(position=st.integers(0, 31), bit=st.integers(0, 7))
def test_no_bit_of_a_cursor_can_be_changed(position: int, bit: int) -> None:
    cursor = CURSORS.seal(LAST, user_id=TENANT, scope=b"jobs")
    sealed = bytearray(base64.urlsafe_b64decode(cursor + "="))
    sealed[position] ^= 1 << bit
    forged = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    with pytest.raises(MalformedError):
        CURSORS.unseal(forged, user_id=TENANT, scope=b"jobs")


@pytest.mark.parametrize(
    ("key", "tenant", "scope"),
    [(b"k" * 32, new_id(), b"jobs"), (b"k" * 32, TENANT, b"events"), (b"j" * 32, TENANT, b"jobs")],
    ids=["another tenant", "another list", "another key"],
)
def test_a_cursor_is_good_for_one_tenants_one_list(key: bytes, tenant: UUID, scope: bytes) -> None:
    cursor = CURSORS.seal(LAST, user_id=TENANT, scope=b"jobs")

    with pytest.raises(MalformedError):
        Cursors(key).unseal(cursor, user_id=tenant, scope=scope)


@pytest.mark.parametrize("spelling", ["{}=", "\n{}", "{} ", "{}AA"])
def test_a_cursor_has_one_spelling(spelling: str) -> None:
    cursor = CURSORS.seal(LAST, user_id=TENANT, scope=b"jobs")

    with pytest.raises(MalformedError):
        CURSORS.unseal(spelling.format(cursor), user_id=TENANT, scope=b"jobs")


@given(st.text(max_size=60))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(MalformedError):
        CURSORS.unseal(text, user_id=TENANT, scope=b"jobs")
