"""API keys: made, read, compared, and told apart from typos."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.key import NewKey, Scope, allows, matches, new_key, parse_key

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"


@given(st.from_regex(r"[a-z]{2,8}", fullmatch=True))
def test_a_new_key_opens_what_it_was_made_for(env: str) -> None:
    made = new_key(env)

    parsed = parse_key(made.token)

    assert re.fullmatch(rf"ss_{env}_\w{{12}}_\w{{43}}_\w{{6}}", made.token, re.ASCII)
    assert parsed is not None
    assert parsed.id == made.id
    assert matches(made.secret_sha256, parsed)


def test_what_is_kept_is_the_digest_of_the_secret() -> None:
    made = new_key("live")

    assert made.secret_sha256 == hashlib.sha256(made.token.split("_")[3].encode()).digest()


def test_a_key_of_another_tenant_does_not_match() -> None:
    parsed = parse_key(new_key("live").token)

    assert parsed is not None
    assert not matches(new_key("live").secret_sha256, parsed)


@given(st.data())
def test_every_single_character_typo_is_noticed(data: st.DataObject) -> None:
    token = new_key("live").token
    position = data.draw(st.integers(0, len(token) - 1))
    wrong = data.draw(st.sampled_from(CHARACTERS.replace(token[position], "")))

    assert parse_key(token[:position] + wrong + token[position + 1 :]) is None


@given(st.integers(0, 40))
def test_swapped_neighbours_are_noticed(offset: int) -> None:
    token = new_key("test").token
    at = token.index("_", 8) + 1 + offset
    swapped = token[:at] + token[at + 1] + token[at] + token[at + 2 :]

    assert (parse_key(swapped) is None) == (swapped != token)


@given(st.text(max_size=90))
def test_any_other_text_is_no_key(text: str) -> None:
    assert parse_key(text) is None


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}a", "{}_", "SS{}", "\ud800{}", "{}\0"])
def test_a_key_with_something_around_it_is_no_key(change: str) -> None:
    assert parse_key(change.format(new_key("live").token)) is None


def test_digits_of_other_scripts_are_no_digits() -> None:
    assert parse_key(new_key("live").token[:-1] + "\u0663") is None


@pytest.mark.parametrize("env", ["", "a", "LIVE", "abcdefghi", "li_ve", "live\n", "é1"])
def test_odd_environments_are_refused(env: str) -> None:
    with pytest.raises(ValueError, match="not an environment"):
        new_key(env)


def test_keys_never_repeat() -> None:
    made: list[NewKey] = [new_key("live") for _ in range(200)]

    assert len({key.id for key in made}) == len({key.secret_sha256 for key in made}) == 200


def test_a_key_does_not_show_its_token() -> None:
    made = new_key("live")

    assert made.token not in repr(made)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (set[Scope](), set[Scope]()),
        ({Scope.READ}, {Scope.READ}),
        ({Scope.WRITE}, {Scope.WRITE}),
        ({Scope.READ, Scope.WRITE}, {Scope.READ, Scope.WRITE}),
        ({Scope.ADMIN}, set(Scope)),
    ],
)
def test_admin_implies_all_and_nothing_else_implies_anything(
    scopes: set[Scope], allowed: set[Scope]
) -> None:
    assert {needed for needed in Scope if allows(scopes, needed)} == allowed
