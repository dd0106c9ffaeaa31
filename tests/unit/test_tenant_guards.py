"""Every query that touches a tenant's table names the tenant, or stands here with a reason."""

from __future__ import annotations

import re
from typing import Final

from guards import GUARD, files, tenant_tables, unguarded, without_guard

_WORKERS: Final = "a worker serves all tenants; rows are written by id, attempt and lease token"
_LEADER: Final = "one process keeps house for all tenants"
_BENCH: Final = "the bench's own, on a database of its own"
_KEYS: Final = "the operator's, on the command line"
EXCEPTIONS: Final = {
    "audit/forget": _LEADER,
    "audit/list": _KEYS,
    "baseline/forget": _BENCH,
    "baseline/live": _BENCH,
    "dispatch/busy_queues": _WORKERS,
    "dispatch/claim": _WORKERS,
    "dispatch/claim_plain": _WORKERS,
    "dispatch/claim_new": _WORKERS,
    "dispatch/claim_next": _WORKERS,
    "dispatch/disown": _WORKERS,
    "dispatch/promote": _WORKERS,
    "endpoints/take": "updates the row that it has locked by tenant and id",
    "gauges/queues": _LEADER,
    "intake/accept": "one statement for many tenants; versions are compared by each row's tenant",
    "jobs/list": "the guard stands once, around the union of both tables",
    "keys/find": "says whose a key is, so no tenant is known yet",
    "keys/list": _KEYS,
    "keys/revoke": _KEYS,
    "maintenance/expire_idempotency": _LEADER,
    "maintenance/rescue": _LEADER,
    "maintenance/roll_up": _LEADER,
    "messages/forget": _LEADER,
    "messages/roll_up": _LEADER,
    "queues/hold": "the operator's own queue, which all tenants share",
    "schedules/due": _LEADER,
    "schedules/soonest": _LEADER,
    "schedules/tick": _LEADER,
    "users/create": _KEYS,
    "users/find_by_name": _KEYS,
}


def test_every_query_on_a_tenants_table_has_a_guard_or_a_reason() -> None:
    tables = tenant_tables()

    bare = {name for name, text in files().items() if unguarded(text, tables)}

    assert bare == EXCEPTIONS.keys()


def test_a_guard_that_is_taken_out_is_missed() -> None:
    tables = tenant_tables()
    guarded = {name: text for name, text in files().items() if GUARD.search(text)}
    reading = re.compile(r"\b(FROM|UPDATE) signalstack\.")

    unmissed = [
        name
        for name, text in guarded.items()
        if reading.search(text) and not unguarded(without_guard(text), tables)
    ]

    assert unmissed == []
