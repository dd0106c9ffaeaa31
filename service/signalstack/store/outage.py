"""Translates psycopg's errors: PostgreSQL is away, contended, or fed what it cannot keep."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from signalstack.core.errors import (
    InvalidError,
    SettingsError,
    SignalStackError,
    TooLargeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

STANDBY: Final = (
    "PostgreSQL is a standby: it (or a setting) makes sessions read-only, so that it takes neither"
    " writes nor LISTEN; the URL must lead to the primary"
)
_REASON_LIMIT: Final = 300
_NUL: Final = "a text has a character that PostgreSQL cannot keep (NUL)"


class ContendedError(UnavailableError):
    """The transaction lost against another one (40001, 40P01); the same again may succeed."""


# In order: classes 25, 40, 54 and 57 are kinds of OperationalError too, so they come first.
_KNOWN: Final[Sequence[tuple[tuple[type[psycopg.Error], ...], type[SignalStackError], str]]] = (
    (
        (pg.SerializationFailure, pg.DeadlockDetected),
        ContendedError,
        "PostgreSQL gave way to another transaction; try again",
    ),
    (
        (pg.QueryCanceled, pg.LockNotAvailable),
        UnavailableError,
        "PostgreSQL took too long to answer",
    ),
    ((pg.ReadOnlySqlTransaction,), UnavailableError, STANDBY),
    (
        (pg.ProgramLimitExceeded,),
        TooLargeError,
        "PostgreSQL cannot keep or return a value of this size",
    ),
    (
        (psycopg.OperationalError, psycopg.InterfaceError),
        UnavailableError,
        "PostgreSQL cannot be reached",
    ),
    ((pg.UntranslatableCharacter, pg.CharacterNotInRepertoire), InvalidError, _NUL),
)


@contextmanager
def translate_errors() -> Generator[None]:
    """Raise what callers may know of instead of psycopg's errors; faults of our own stay so."""
    try:
        yield
    except psycopg.Error as error:
        known = _translate(error)
        if known is None:
            raise
        raise known from error


def require_readable(name: str, dsn: str) -> None:
    """Make sure that the DSN in the variable `name` can be read.

    Raises:
        SettingsError: it is no DSN. The message has no part of it: it may hold the password.
    """
    try:
        given = conninfo_to_dict(dsn)
        _refuse_torn(*(str(given.get(part) or "") for part in ("host", "port", "dbname")))
        float(str(given.get("connect_timeout", 0)))
    except (psycopg.Error, ValueError):
        raise SettingsError(
            f"{name} cannot be read; it must look like "
            "postgresql://user:password@host:5432/name (special characters percent-encoded)"
        ) from None


def describe_target(dsn: str) -> tuple[str, str]:
    """Tell host and port of a DSN, for people to read."""
    given = conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    return str(host), str(given.get("port") or 5432)


def explain_refusal(error: BaseException, dsn: str) -> str:
    """Tell in one sentence why PostgreSQL took no connection."""
    reason = describe_reason(error, dsn)
    return reason if reason == STANDBY else f"cannot connect to PostgreSQL: {reason}"


def describe_reason(error: BaseException, dsn: str) -> str:
    """Tell why a connection failed in one line that holds no password."""
    reason = " ".join(str(error).split())[:_REASON_LIMIT] or type(error).__name__
    # What libpq says of a server where `target_session_attrs` finds no session to write in.
    if "session is read-only" in reason or "server is in hot standby mode" in reason:
        return STANDBY
    password = conninfo_to_dict(dsn).get("password")
    return reason.replace(str(password), "***") if password else reason


def _refuse_torn(hosts: str, ports: str, name: str) -> None:
    """Refuse a password that is torn by its own "/" or "@": a piece of it is port or host."""
    if "@" in name:
        raise ValueError
    for port in ports.split(","):
        int(port or 0)
    for host in hosts.split(","):
        if "@" in host[1:] and not host.startswith(("/", "@")):  # which are sockets
            raise ValueError


def _translate(error: psycopg.Error) -> SignalStackError | None:
    for classes, known, sentence in _KNOWN:
        if isinstance(error, classes):
            return known(sentence)
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return InvalidError(_NUL)
    return None
