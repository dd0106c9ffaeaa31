"""The examination of a database: every check in turn, as far as it can be reached."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio

from signalstack import wiring
from signalstack.core.errors import SchemaError, UnavailableError
from signalstack.doctor import judgement
from signalstack.doctor.finding import fault, ok
from signalstack.doctor.login import Login, tell_api
from signalstack.store import examination, migrate, tenancy

if TYPE_CHECKING:
    from signalstack.core.stage import Observer
    from signalstack.doctor.finding import Finding
    from signalstack.settings import Settings
    from signalstack.store.query import Connection
    from signalstack.wiring import Database

_CANARY_S: Final = 3.0
_DEADLINE_S: Final = 45.0


async def examine(settings: Settings) -> list[Finding]:
    """Make every check that can be made.

    Raises:
        SettingsError: DATABASE_URL is not set, or it or LISTEN_DATABASE_URL cannot be read.
    """
    database = wiring.locate_database(settings)
    observer = wiring.make_observer(settings, "doctor")
    findings: list[Finding] = []
    try:
        with anyio.fail_after(_DEADLINE_S):
            await _examine(database, settings.db_pool_max, observer, findings)
    except TimeoutError:
        says = f"PostgreSQL did not answer within {_DEADLINE_S:g} s: look at its load and locks."
        findings.append(fault("answers", says))
    return findings


async def _examine(
    database: Database, pool_max: int, observer: Observer, findings: list[Finding]
) -> None:
    async with AsyncExitStack() as stack:

        async def connect(name: str, dsn: str) -> Connection | None:
            try:
                conn = await stack.enter_async_context(examination.connect(dsn, observer))
            except UnavailableError as error:
                findings.append(fault("connection", _explain(name, str(error))))
                return None
            return conn

        direct_name = "LISTEN_DATABASE_URL" if _is_split(database) else "DATABASE_URL"
        pooled = await connect("DATABASE_URL", database.dsn)
        seek = pooled or _is_split(database)  # the same DSN fails for the same reason
        direct = await connect(direct_name, database.direct_dsn) if seek else None
        sender = direct and await connect(direct_name, database.direct_dsn)
        if pooled is None or direct is None or sender is None:
            return
        findings.append(await _check_connection(pooled, direct, database))
        login = await _look_at_login(direct)
        if login.is_for_api:
            findings.append(tell_api(login))
        server = await examination.look_at_server(direct)
        findings.extend(
            judgement.judge_server(
                server,
                pool=pool_max,
                api=wiring.API_CONNECTIONS,
                worker=None if login.is_for_api else wiring.WORKER_CONNECTIONS,
            )
        )
        findings.append(await _check_listen(direct, sender, direct_name))
        findings.extend(await _check_rights(login, database))
        findings.append(judgement.judge_clock(await examination.measure_clock(direct)))
        findings.append(
            judgement.judge_transaction(await examination.find_oldest_transaction(direct))
        )


async def _check_connection(pooled: Connection, direct: Connection, database: Database) -> Finding:
    one, other = await examination.identify(pooled), await examination.identify(direct)
    if (one.oid, one.started_at) != (other.oid, other.started_at):
        return fault(
            "connection",
            f"LISTEN_DATABASE_URL leads to another database ({other.name!r}) than DATABASE_URL "
            f"({one.name!r}), or to another server: set it to a direct connection to the same one.",
        )
    through = " through a pooler" if examination.is_pooled(pooled, one) else ""
    direct_too = ", and LISTEN_DATABASE_URL to the same one" if _is_split(database) else ""
    return ok("connection", f"DATABASE_URL leads to {one.name!r}{through}{direct_too}")


async def _check_listen(direct: Connection, sender: Connection, name: str) -> Finding:
    pooled = examination.is_pooled(direct, await examination.identify(direct))
    try:
        took_s = await examination.send_canary(direct, sender, timeout_s=_CANARY_S)
    except UnavailableError as error:
        return fault("listen", f"LISTEN is refused ({error}): {name} must lead to the primary.")
    if took_s is not None:
        return ok("listen", f"a notification arrived after {took_s * 1000:.1f} ms")
    if pooled:
        return fault(
            "listen",
            f"LISTEN hears nothing through the pooler that {name} leads to, so work would start "
            "only when polled for: set LISTEN_DATABASE_URL to a direct connection to PostgreSQL.",
        )
    return fault(
        "listen",
        f"A notification did not arrive within {_CANARY_S:g} s: the server is overloaded, or "
        f"something that {name} leads through holds notifications back; then set "
        "LISTEN_DATABASE_URL to a direct connection to PostgreSQL.",
    )


async def _look_at_login(direct: Connection) -> Login:
    rights = await examination.look_at_rights(direct)
    if not rights.enter:
        return Login(rights=rights, tables=[], standing=None)
    tables = await examination.look_at_tables(direct)
    return Login(rights=rights, tables=tables, standing=await tenancy.look(direct))


async def _check_rights(login: Login, database: Database) -> list[Finding]:
    as_whom = ", as the tables' owner" if login.is_for_api else ""
    login = login.keep_to_api() if login.is_for_api else login
    found = judgement.judge_rights(login.rights, login.tables)
    if login.standing is not None:
        found.extend(judgement.judge_standing(login.standing))
    readable = all(
        "SELECT" not in each.missing for each in login.tables if each.name == "migrations"
    )
    if login.rights.enter is not False and readable:
        found.append(await _check_schema(database, as_whom))
    return found


async def _check_schema(database: Database, as_whom: str) -> Finding:
    try:
        standing = await migrate.version(database.direct_dsn)
    except (SchemaError, UnavailableError) as error:
        return fault("schema", str(error))
    where = f"version {standing.current} of {standing.latest}"
    if standing.unknown:
        return fault("schema", f"{where}: a newer build migrated it, so update SignalStack.")
    if standing.pending:
        return fault("schema", f"{where}: run `{migrate.UP_COMMAND}`{as_whom}.")
    return ok("schema", where)


def _explain(name: str, reason: str) -> str:
    if "read-only" in reason:
        return f"{name} leads to a standby or a read-only server ({reason}): set it to the primary."
    return (
        f"{name} cannot be reached ({reason}): start PostgreSQL, or mend the address or password."
    )


def _is_split(database: Database) -> bool:
    return database.dsn != database.direct_dsn
