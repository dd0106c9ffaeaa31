"""What a login role must be, so that tenants are kept apart by PostgreSQL too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec

from signalstack.core.errors import SchemaError
from signalstack.store.query import Query, fetch_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from signalstack.store.query import Connection


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a role may act for tenants, and sees all of them; None: there are no walls yet.

    `walled` says whether all of the walls are there.
    """

    role: str
    acts_for_tenants: bool | None
    sees_all: bool | None
    walled: bool | None


_STANDING: Final = Query("connections/standing", Standing)


async def look(conn: Connection) -> Standing:
    """Tell how the role that logged in stands to the tenants."""
    return cast("Standing", await fetch_one(conn, _STANDING))


def find_faults(standing: Standing) -> Iterator[str]:
    """Say what the role lacks, with what to run."""
    if standing.walled is False:
        yield (
            "Policies or privileges that keep tenants apart are missing, as after a restore "
            "without the roles signalstack_tenant and signalstack_service: make these, and restore "
            "once more into a new database, with privileges (docs/deploy.md)."
        )
    if standing.acts_for_tenants is False:
        yield (
            f"The role {standing.role!r} may not act for tenants: as an administrator, run "
            f'`GRANT signalstack_tenant TO "{standing.role}"`.'
        )
    if standing.sees_all is False:
        yield (
            f"The role {standing.role!r} does not own the tables, so row-level security hides "
            "all rows from it: as an administrator, run "
            f'`GRANT signalstack_service TO "{standing.role}"`.'
        )


async def require(conn: Connection) -> None:
    """Make sure that the role can serve.

    Raises:
        SchemaError: it lacks a membership; the message has what to run.
    """
    if faults := " ".join(find_faults(await look(conn))):
        raise SchemaError(faults)
