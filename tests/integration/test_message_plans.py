"""Messages are found, listed, counted and forgotten by indexes, however many there are."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from plans import buffers, explain, scanned
from signalstack.core.ids import new_id

ENDED: Final = 120_000
WAITING: Final = 20_000
PAGE: Final = 51
# Its rows and their jobs, with some pages of each index; the last error is looked for in 200.
BUFFERS_LIMIT: Final = 1_000
DAY_S: Final = 86_400
NUMBER: Final = "+905550000007"

_FILL: Final = """
INSERT INTO signalstack.messages (
    user_id, id, phone_number, content, status, created_at, updated_at, last_error
)
SELECT
    %(user)s::uuid,
    (
        left(signalstack.uuid_floor(at)::text, 14) || '7' || substr(tail, 1, 3) || '-8'
        || substr(tail, 4, 3) || '-' || substr(tail, 7, 12)
    )::uuid,
    '+90555' || lpad((n %% 1000)::text, 7, '0'), 'Hello',
    CASE
        WHEN n > %(ended)s THEN 'pending'
        WHEN n %% 100 = 0 THEN 'failed'
        WHEN n %% 1000 = 1 THEN 'cancelled'
        ELSE 'sent'
    END,
    at, at, CASE WHEN n %% 100 = 0 THEN 'timeout: none' END
FROM (
    SELECT
        n,
        -- Over forty days; those that wait are the newest.
        now() - interval '40 days' + n * interval '40 days' / (%(ended)s + %(waiting)s) AS at,
        md5(n::text || %(user)s) AS tail
    FROM generate_series(1, %(ended)s + %(waiting)s) AS n
) AS made
"""
_WAIT: Final = """
INSERT INTO signalstack.jobs (
    user_id, id, type, queue, priority, delayed, max_attempts, run_at, payload
)
SELECT
    user_id, id, 'other', 'messages', 0, false, 3, created_at,
    jsonb_build_object('phone_number', phone_number, 'content', content)
FROM signalstack.messages
WHERE status = 'pending'
"""
_TALLY: Final = """
INSERT INTO signalstack.message_tallies (user_id, status, error_code, messages)
SELECT gen_random_uuid(), 'sent', '', 1 FROM generate_series(1, 20000)
"""

QUERIES: Final[dict[str, dict[str, object]]] = {
    "messages/get": {},
    "messages/list": {},
    "messages/list_by_status": {"status": "sent"},
    "messages/list_by_number": {"phone_number": NUMBER, "status": None},
    "messages/tally": {},
    "messages/last_error": {},
}


class Archive:
    """Two tenants with many messages each."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self.conn = conn
        self.user_id = new_id()
        for user_id in (self.user_id, new_id()):
            conn.execute(
                "INSERT INTO signalstack.users (id, name) VALUES (%s, %s)",
                (user_id, str(user_id)),
            )
            conn.execute(_FILL, {"user": str(user_id), "ended": ENDED, "waiting": WAITING})
        conn.execute(_WAIT)
        conn.execute(_TALLY)
        conn.execute(
            "ANALYZE signalstack.messages, signalstack.jobs, signalstack.message_tallies,"
            " signalstack.users"
        )

    def one(self, query: str, *parameters: object) -> Any:
        row = self.conn.execute(query.encode(), parameters).fetchone()
        return None if row is None else row[0]

    def some_id(self) -> UUID:
        return self.one(
            "SELECT id FROM signalstack.messages WHERE user_id = %s"
            " ORDER BY id OFFSET 70000 LIMIT 1",
            self.user_id,
        )


@pytest.mark.slow
def test_messages_are_reached_by_indexes(database_url: str, subtests: pytest.Subtests) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        archive = Archive(conn)
        somewhere = archive.some_id()
        usual = {
            "user_id": archive.user_id,
            "id": somewhere,
            "floor": UUID(int=0),
            "created_after": None,
            "created_before": None,
            "limit": PAGE,
        }
        for generic in (False, True):
            for name, given in QUERIES.items():
                for below in (UUID(int=2**128 - 1), somewhere):
                    with subtests.test(name, generic=generic, below=below):
                        plan = explain(
                            conn, name, usual | given | {"below": below}, generic=generic
                        )

                        # Deltas wait there to be summed up within seconds, so they are few.
                        assert set(scanned(plan)) <= {"message_deltas"}
                        assert buffers(plan) <= BUFFERS_LIMIT

        for generic in (False, True):
            with subtests.test("messages/forget", generic=generic):
                before = archive.one("SELECT count(*) FROM signalstack.messages")
                given = {"keep_s": 30 * DAY_S, "limit": 100}
                plan = explain(conn, "messages/forget", given, generic=generic)

                assert set(scanned(plan)) <= {"users"}
                assert before - archive.one("SELECT count(*) FROM signalstack.messages") == 100
