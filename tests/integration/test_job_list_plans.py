"""Lists of jobs are read by indexes whatever the filter, and page 1,000 costs what page 1 does."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import psycopg
import pytest

from plans import Plan, buffers, explain, nodes, scanned
from signalstack.core.ids import new_id

FINISHED: Final = 200_000
LIVE: Final = 20_000
PAGE: Final = 51
# What one page may touch: its rows, a few index pages for each partition, and no more.
BUFFERS_LIMIT: Final = 400
# A filter that fits next to nothing reads as far as a page may.
BOUND_BUFFERS_LIMIT: Final = 12_000

_FILL: Final = """
WITH n AS (
    SELECT
        i,
        -- Over four days, so that several partitions have a part.
        now() - interval '12 hours' + i * interval '3 days' / %(count)s AS at,
        md5(i::text || %(user)s) AS tail
    FROM generate_series(1, %(count)s) AS i
)

SELECT
    i,
    at,
    (
        left(signalstack.uuid_floor(at)::text, 14) || '7' || substr(tail, 1, 3) || '-8'
        || substr(tail, 4, 3) || '-' || substr(tail, 7, 12)
    )::uuid AS id
FROM n
"""
_FINISH: Final = f"""
INSERT INTO signalstack.finished_jobs (
    user_id, id, type, queue, priority, status, attempt, max_attempts, run_at, created_at,
    updated_at, started_at, finished_at, payload
)
SELECT
    %(user)s::uuid, id, CASE WHEN i %% %(every)s = 0 THEN 'rare' ELSE 'common' END,
    CASE WHEN i %% 5000 = 0 THEN 'side' ELSE 'default' END, 0,
    CASE WHEN i %% 100 = 0 THEN 'failed' WHEN i %% 1000 = 1 THEN 'cancelled' ELSE 'succeeded' END,
    1, 3, at, at, at, at, at, '{{}}'
FROM ({_FILL}) AS made
"""  # noqa: S608 - all of it stands here
_WAIT: Final = f"""
INSERT INTO signalstack.jobs (
    user_id, id, type, queue, priority, delayed, max_attempts, run_at, lease_token, payload
)
SELECT
    %(user)s::uuid, id, 'common', 'default', 0, i %% 10 = 0, 3, at + interval '30 days',
    CASE WHEN i %% 10 = 1 THEN 1 END, '{{}}'
FROM ({_FILL}) AS made
"""  # noqa: S608 - all of it stands here


class History:
    """A tenant with a long history, beside one for whom everything is the other way round."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        self.user_id = new_id()
        other = new_id()
        conn.execute(
            "SELECT signalstack.make_partition('finished_jobs', current_date + n) "
            "FROM generate_series(0, 3) AS n"
        )
        for user_id, count, every in ((self.user_id, FINISHED, 10_000), (other, FINISHED // 4, 1)):
            conn.execute(_FINISH, {"user": str(user_id), "count": count, "every": every})
        conn.execute(_WAIT, {"user": str(self.user_id), "count": LIVE})
        conn.execute("ANALYZE signalstack.jobs, signalstack.finished_jobs")

    def below(self, share: float) -> UUID:
        """Return the id under which a page begins that this share of the history comes before."""
        row = self.conn.execute(
            "SELECT id FROM signalstack.finished_jobs WHERE user_id = %s ORDER BY id DESC "
            "OFFSET %s LIMIT 1",
            (self.user_id, int(FINISHED * share)),
        ).fetchone()
        assert row is not None
        return row[0]

    def explain(self, name: str, *, generic: bool, **given: object) -> Plan:
        """Run a query by a generic plan or one of its own; return what was done."""
        usual: dict[str, object] = {
            "user_id": self.user_id,
            "floor": UUID(int=0),
            "below": UUID(int=2**128 - 1),
            "status": None,
            "type": None,
            "queue": None,
            "created_after": None,
            "created_before": None,
            "live": True,
            "finished": True,
            "limit": PAGE,
        }
        return explain(self.conn, name, usual | given, generic=generic)


FILTERS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "none": ("jobs/list", {}),
    "succeeded": ("jobs/list", {"status": "succeeded", "live": False}),
    "pending": ("jobs/list", {"status": "pending", "finished": False}),
    "queue": ("jobs/list", {"queue": "default"}),
    "type": ("jobs/list_by_type", {"type": "common"}),
    "rare type": ("jobs/list_by_type", {"type": "rare", "live": False}),
    "failed": ("jobs/list_unsuccessful", {"status": "failed"}),
}
FIT_LITTLE: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "queue": ("jobs/list", {"queue": "side"}),
    "queue and type": ("jobs/list_by_type", {"type": "common", "queue": "side"}),
    "status and queue": ("jobs/list_unsuccessful", {"status": "cancelled", "queue": "side"}),
    "type of live ones": ("jobs/list", {"type": "rare", "status": "pending", "finished": False}),
}


@pytest.mark.slow
def test_pages_are_read_by_indexes(database_url: str, subtests: pytest.Subtests) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        history = History(conn)
        page_1000 = history.below(50_000 / FINISHED)
        for generic in (False, True):
            for shown, (name, given) in FILTERS.items():
                with subtests.test(shown, generic=generic):
                    first = history.explain(name, generic=generic, **given)
                    late = history.explain(name, generic=generic, **given, below=page_1000)

                    assert (_large(first), _large(late)) == ([], [])
                    assert buffers(first) <= BUFFERS_LIMIT
                    # Partitions that are left out make late pages cheaper; dearer they never get.
                    assert buffers(late) <= 2 * buffers(first)
            for shown, (name, given) in FIT_LITTLE.items():
                with subtests.test(f"little fits: {shown}", generic=generic):
                    plan = history.explain(name, generic=generic, **given)

                    assert _large(plan) == []
                    assert buffers(plan) <= BOUND_BUFFERS_LIMIT


def _large(plan: Plan) -> list[str]:
    """Name the nodes that read a table from end to end, or sort more than a page of each half."""
    found = [f"Seq Scan on {table}" for table in scanned(plan)]
    for node in nodes(plan):
        inputs = sum(child["Actual Rows"] for child in node.get("Plans", ()))
        if "Sort" in node["Node Type"] and inputs > 2 * PAGE:
            found.append(f"{node['Node Type']} of {inputs} rows")
    return found
