"""PgBouncer in transaction mode before the database, with a direct way for LISTEN."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from chaos.faults import FAULTS
from chaos.promises import kept, more, runs_a_job
from chaos.stack import open_stack
from pooler import pgbouncer

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.long]

STRUCK: Final = ("kill -9 of a worker", "kill -9 of the API", "network: all connections reset")


@pytest.mark.timeout(120)
async def test_promises_hold_through_a_pooler_in_transaction_mode(
    database_url: str, tmp_path: Path
) -> None:
    with pgbouncer(database_url) as pooled:

        async def arrange(stack: Stack) -> None:
            for member in stack.members:
                direct = member.settings["DATABASE_URL"]
                member.settings |= {"DATABASE_URL": pooled, "LISTEN_DATABASE_URL": direct}

        async with (
            open_stack(tmp_path, dsn=database_url, arrange=arrange) as stack,
            kept(stack) as told,
        ):
            rng = random.Random(3)  # noqa: S311 - it is to be repeatable
            for fault in FAULTS:
                if fault.name in STRUCK:
                    await more(told)
                    await fault.strike(stack, rng)
                    with anyio.fail_after(30):
                        await runs_a_job(stack)
            await more(told)
