"""What the runbooks tell people to type in the middle of the night works."""

from __future__ import annotations

import re

import psycopg

from alerting import metrics, rules, runbooks
from signalstack.telemetry import catalogue

STATEMENT = re.compile(r"`((?:SELECT|VACUUM|DELETE)\b[^`]*;)`")
# What the reader fills in.
GAPS = {"(PID)": "(0)", "NAME": "none", "TYPE": "none"}
# For a slot that is there.
NOT_HERE = "SELECT pg_drop_replication_slot"


def statements(page: str) -> list[str]:
    """Find the SQL of a page."""
    found: list[str] = STATEMENT.findall(page)
    for gap, filling in GAPS.items():
        found = [one.replace(gap, filling) for one in found]
    return [one for one in found if not one.startswith(NOT_HERE)]


def test_the_sql_of_the_runbooks_runs(database_url: str) -> None:
    found = [one for page in runbooks().values() for one in statements(page)]

    with psycopg.connect(database_url, autocommit=True) as conn:
        for one in found:
            conn.execute(one.encode())
    assert len(found) >= 20


def test_rules_and_runbooks_name_metrics_that_exist() -> None:
    known = {name for name, *_ in catalogue.describe()}
    named = {name for page in runbooks().values() for name in metrics(page)}
    named |= {name for rule in rules() for name in metrics(rule.expr)}

    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named - known}
    assert families - known == set()
