"""The judgement on what was found: pure rules, each fault a sentence with its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signalstack.doctor.finding import fault, ok, warn
from signalstack.store.tenancy import find_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.doctor.finding import Finding
    from signalstack.store.examination import OpenTransaction, Rights, Server, Table
    from signalstack.store.tenancy import Standing

_OLDEST_NUMBER: Final = 140_000
_CLOCK_S: Final = 1.0
_OPEN_S: Final = 900.0
_SHORT_TIMEOUT_S: Final = 1.0
_QUEUE_WARNING: Final = 0.1
_QUEUE_FAULT: Final = 0.5


def judge_server(server: Server, *, pool: int, api: int, worker: int | None) -> list[Finding]:
    """Judge version, settings and queue.

    Args:
        server: what it says of itself.
        pool: how many connections the pool of a process may have.
        api: how many more it has for the API.
        worker: how many more it has for a worker; None for a login that is the API's alone.
    """
    return [
        _judge_version(server),
        _one("durability", _find_loss(server), "what is committed survives a crash"),
        _one("autovacuum", _find_bloat(server), "on"),
        _one("encoding", _find_encoding(server), server.encoding),
        _one("timeouts", _find_timeouts(server), "none that ends a listening session"),
        _judge_connections(server, pool, api, worker),
        _judge_queue(server.notify_queue),
    ]


def judge_rights(rights: Rights, tables: list[Table]) -> list[Finding]:
    """Judge what the role may do."""
    if rights.enter is None and not rights.make_schema:
        says = (
            f"The role {rights.role!r} may not make the schema: "
            f'`GRANT CREATE ON DATABASE … TO "{rights.role}"`, or migrate as another role.'
        )
        return [fault("privileges", says)]
    faults = [fault("privileges", says) for says in _find_missing(rights, tables)]
    return faults or [ok("privileges", f"the role {rights.role!r} may do what it has to")]


def judge_standing(standing: Standing) -> list[Finding]:
    """Judge how the role stands to the tenants."""
    faults = [fault("tenants", says) for says in find_faults(standing)]
    return faults or [ok("tenants", "row-level security keeps them apart")]


def judge_clock(ahead_s: float) -> Finding:
    """Judge by how much PostgreSQL's clock is ahead of ours."""
    if abs(ahead_s) <= _CLOCK_S:
        return ok("clock", f"differs from PostgreSQL's by {abs(ahead_s) * 1000:.0f} ms")
    way = "behind" if ahead_s > 0 else "ahead of"
    return fault(
        "clock",
        f"This machine's clock is {abs(ahead_s):.1f} s {way} PostgreSQL's, so signatures and "
        "latencies would be wrong: synchronise both by NTP.",
    )


def judge_transaction(oldest: OpenTransaction | None) -> Finding:
    """Judge the transaction that has been open the longest."""
    if oldest is None or oldest.age_s <= _OPEN_S:
        return ok("transactions", "none that holds back vacuum")
    return warn(
        "transactions",
        f"A transaction has been open for {oldest.age_s / 60:.0f} minutes ({oldest.holder}) and "
        "holds back vacuum, which slows claiming down: end it.",
    )


def _judge_version(server: Server) -> Finding:
    if server.number >= _OLDEST_NUMBER:
        return ok("version", f"PostgreSQL {server.version}")
    wanted = _OLDEST_NUMBER // 10_000
    return fault("version", f"PostgreSQL {server.version} is too old: {wanted} or newer is needed.")


def _find_loss(server: Server) -> str | None:
    off = [name for name in ("fsync", "full_page_writes") if not getattr(server, name)]
    off += ["synchronous_commit"] if server.synchronous_commit == "off" else []
    if not off:
        return None
    return (
        f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off, so a crash can lose what was "
        "accepted: set to on, for the server as for role and database."
    )


def _find_bloat(server: Server) -> str | None:
    if server.autovacuum:
        return None
    return "autovacuum or track_counts is off, so tables only grow: set both to on."


def _find_encoding(server: Server) -> str | None:
    if server.encoding == "UTF8":
        return None
    return (
        f"The database's encoding is {server.encoding}, which cannot keep every JSON text: "
        "make one with `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`."
    )


def _find_timeouts(server: Server) -> str | None:
    faults: list[str] = []
    if server.idle_session_timeout_s:
        faults.append(
            f"idle_session_timeout is {server.idle_session_timeout_s:g} s and ends sessions that "
            "wait for notifications: `ALTER ROLE … SET idle_session_timeout = 0`."
        )
    if 0 < server.statement_timeout_s < _SHORT_TIMEOUT_S:
        faults.append(
            f"statement_timeout is {server.statement_timeout_s * 1000:g} ms, less than some of our "
            "statements take: `ALTER ROLE … SET statement_timeout = '5s'`."
        )
    return " ".join(faults) or None


def _judge_connections(server: Server, pool: int, api: int, worker: int | None) -> Finding:
    needed = pool + api + (worker or 0)
    limits = {
        "max_connections (less those for administrators)": server.connections,
        "the role's CONNECTION LIMIT": server.role_connections,
        "the database's CONNECTION LIMIT": server.database_connections,
    }
    opens = (
        f"the API opens up to {needed} (DB_POOL_MAX and {api})"
        if worker is None
        else f"a worker opens up to {pool + worker} (DB_POOL_MAX and {worker}), the API "
        f"{pool + api}, `up` {needed}"
    )
    for name, limit in limits.items():
        if 0 <= limit < needed:
            says = f"{name} is {limit}, and {opens}: raise it, or lower DB_POOL_MAX."
            return fault("connections", says)
    free = server.connections - server.connected
    if free < needed:
        says = f"Only {free} of {server.connections} are free, and {opens}: raise max_connections."
        return warn("connections", says)
    return ok("connections", f"{free} of {server.connections} are free; {opens}")


def _judge_queue(usage: float) -> Finding:
    if usage < _QUEUE_WARNING:
        return ok("notify queue", f"{usage:.0%} full")
    says = (
        f"The queue of notifications is {usage:.0%} full, and when full every commit that notifies "
        "fails: end the session that listens inside an open transaction (pg_stat_activity)."
    )
    return (fault if usage >= _QUEUE_FAULT else warn)("notify queue", says)


def _find_missing(rights: Rights, tables: list[Table]) -> Iterator[str]:
    to = f'TO "{rights.role}"'
    if rights.enter is False:
        yield (
            f"The role {rights.role!r} may not enter the schema: "
            f"`GRANT USAGE ON SCHEMA signalstack {to}`."
        )
        return
    for table in tables:
        if table.missing:
            kinds = ", ".join(table.missing)
            yield (
                f"The role {rights.role!r} lacks {kinds} on signalstack.{table.name}: "
                f"`GRANT {kinds} ON signalstack.{table.name} {to}`."
            )
    closed = rights.make_tables is False
    if closed or any(table.unowned for table in tables):
        yield (
            f"The role {rights.role!r} can make no partitions, so old data could never be dropped: "
            f"`GRANT <owner of the tables> {to}`"
            + (f" and `GRANT CREATE ON SCHEMA signalstack {to}`." if closed else ".")
        )


def _one(check: str, found: str | None, fine: str) -> Finding:
    return ok(check, fine) if found is None else fault(check, found)
