"""Scripts are cut into statements at the semicolons that PostgreSQL would see."""

from __future__ import annotations

import pytest

from signalstack.core.errors import SchemaError
from signalstack.store.script import split_statements


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; \n;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT 'it''s;'", ["SELECT ';'", "SELECT 'it''s;'"]),
        (r"SELECT E'\';'; SELECT '\'; SELECT 3", [r"SELECT E'\';'", r"SELECT '\'", "SELECT 3"]),
        ("SELECT name'a;b'", ["SELECT name'a;b'"]),
        ('SELECT ";" AS "a"";b"; SELECT 2', ['SELECT ";" AS "a"";b"', "SELECT 2"]),
        ("DO $$ a; $x$ b; $$; SELECT 2", ["DO $$ a; $x$ b; $$", "SELECT 2"]),
        ("DO $f$ a; $$ b; $f$; SELECT 2", ["DO $f$ a; $$ b; $f$", "SELECT 2"]),
        ("SELECT a$b; SELECT c$b", ["SELECT a$b", "SELECT c$b"]),
        ("SELECT $1; SELECT $1", ["SELECT $1", "SELECT $1"]),
        ("-- it's; one\nSELECT 1; -- two", ["SELECT 1"]),
        ("/* a; /* b; */ ' */ SELECT 1; SELECT/**/2", ["SELECT 1", "SELECT 2"]),
    ],
)
def test_cuts_at_the_ends_of_statements(script: str, statements: list[str]) -> None:
    assert split_statements(script) == statements


@pytest.mark.parametrize(
    "script",
    ["SELECT 'a;", 'SELECT "a;', "DO $$ a;", "SELECT 1 /* a /* b */", "CREATE f BEGIN ATOMIC 1;"],
)
def test_refuses_what_it_cannot_cut(script: str) -> None:
    with pytest.raises(SchemaError):
        split_statements(script)
