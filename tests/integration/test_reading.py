"""What becomes of a job whose payload cannot be read just now."""

from __future__ import annotations

import pytest

from recording import RecordingObserver
from rows import add_jobs, add_user, add_worker, connect, open_link
from signalstack.core.handler import Fail, Postpone, Retry
from signalstack.core.job import Wake
from signalstack.store.claims import NIL
from signalstack.store.dispatch import CLAIM_STATEMENTS, SESSION, SETTLE_STATEMENTS, Dispatch
from signalstack.worker.reading import Reader


@pytest.mark.parametrize(
    ("limit", "verdict"), [("lock_timeout", Postpone), ("statement_timeout", Retry)]
)
async def test_a_payload_that_cannot_be_read_while_the_table_is_locked_is_read_later(
    database_url: str, limit: str, verdict: type[Exception]
) -> None:
    """It came by itself, since it is large: its job must not fail for what may pass."""
    settings = SESSION | {"lock_timeout": "0", limit: "200ms"}
    statements = (*CLAIM_STATEMENTS, *SETTLE_STATEMENTS)
    async with (
        open_link(database_url, RecordingObserver(), statements, settings=settings) as link,
        connect(database_url) as conn,
        connect(database_url) as rival,
    ):
        dispatch = Dispatch(link, link)
        reader = Reader({}, dispatch.payload)
        await add_jobs(conn, await add_user(conn))
        claim = await dispatch.claim(
            ["default"],
            worker_id=await add_worker(conn),
            token=1,
            limit=1,
            lanes=16,
            cursor=NIL,
            cause=Wake.POLL,
            with_payloads=False,
        )
        (lease,) = claim.leases
        await rival.execute("BEGIN")
        await rival.execute("LOCK TABLE signalstack.jobs")
        with pytest.raises(verdict, match="could not be read: canceling statement due to"):
            await reader.fetch(lease)
        await rival.execute("ROLLBACK")

        assert await reader.fetch(lease) == b"null"
        await conn.execute("UPDATE signalstack.jobs SET lease_token = 2")
        with pytest.raises(Fail, match="the lease was lost"):
            await reader.fetch(lease)
