"""What the login that is examined is for, and which rights it needs for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from signalstack.doctor.finding import ok
from signalstack.store.examination import Rights, Table
from signalstack.store.tenancy import Standing

if TYPE_CHECKING:
    from signalstack.doctor.finding import Finding

# What a login of the API's own is granted (docs/roles.md); the rest it does as signalstack_tenant.
API_RIGHTS: Final = {
    "migrations": {"SELECT"},
    "secrets": {"SELECT"},
    "api_keys": {"SELECT"},
    "users": {"SELECT"},
    "queues": {"SELECT", "INSERT", "UPDATE"},
    "idempotency": {"SELECT", "INSERT", "UPDATE"},
    "events": {"SELECT", "INSERT"},
    "jobs": {"SELECT", "INSERT"},
    "finished_jobs": {"SELECT"},
    "metrics_delta": {"INSERT"},
    "message_deltas": {"INSERT"},
    "messages": {"SELECT", "INSERT", "UPDATE"},
}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A login as it stands; without `standing` where it may not look into the schema."""

    rights: Rights
    tables: list[Table]
    standing: Standing | None

    @property
    def is_for_api(self) -> bool:
        """Whether it serves the API alone: one of its two memberships, and not the owner's.

        Whoever works or migrates must own the tables, and an owner sees all rows as it is.
        """
        standing = self.standing
        return (
            standing is not None
            and bool(standing.acts_for_tenants or standing.sees_all)
            and any(table.unowned for table in self.tables)
        )

    def keep_to_api(self) -> Login:
        """Leave out what lacks, and is not needed for the API."""
        replace = msgspec.structs.replace
        return replace(
            self,
            rights=replace(self.rights, make_tables=None),
            tables=[
                replace(
                    table,
                    missing=[
                        kind for kind in table.missing if kind in API_RIGHTS.get(table.name, ())
                    ],
                    unowned=False,
                )
                for table in self.tables
            ],
        )


def tell_api(login: Login) -> Finding:
    """Say as what the login was judged, and what was not judged."""
    return ok(
        "login",
        f"the role {login.rights.role!r} does not own the tables and may act for tenants or see "
        "them all, so it is judged as the API's alone; not judged: whether it could run `migrate`, "
        "`worker`, `up`, `keys` or `audit`: run `doctor` with the login that is for those",
    )
