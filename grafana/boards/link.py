"""Where a panel leads: to the other dashboards, to the runbooks, to the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import DashboardLink as Model

TAG: Final = "signalstack"
OVERVIEW: Final = "signalstack-overview"
DISPATCH: Final = "signalstack-dispatch"
QUEUES: Final = "signalstack-queues"
WORKERS: Final = "signalstack-workers"
WEBHOOKS: Final = "signalstack-webhooks"
POSTGRESQL: Final = "signalstack-postgresql"
JOB_TYPE: Final = "signalstack-job-type"

TITLES: Final = {
    OVERVIEW: "SignalStack · Overview",
    DISPATCH: "SignalStack · Dispatch",
    QUEUES: "SignalStack · Queues",
    WORKERS: "SignalStack · Workers",
    WEBHOOKS: "SignalStack · Webhooks and messages",
    POSTGRESQL: "SignalStack · PostgreSQL and LISTEN",
    JOB_TYPE: "SignalStack · One job type",
}


class Link(msgspec.Struct, frozen=True):
    """A title and where it leads."""

    title: str
    url: str
    new_tab: bool = False


def runbook(name: str) -> Link:
    """Lead from a panel to a page of docs/runbooks, which has an alert's name."""
    return Link(f"Runbook: {name}", f"${{runbooks}}/{name}.md", new_tab=True)


def board(uid: str) -> Link:
    """Lead from a panel to a dashboard, with the range and the choices that are made."""
    return Link(TITLES[uid], f"/d/{uid}?${{__url_time_range}}&${{__all_variables}}")


def cell(uid: str, variable: str) -> Link:
    """Lead from a cell of a table to a dashboard that shows its value alone."""
    return _narrowed(uid, variable, "${__value.text}")


def series(uid: str, label: str) -> Link:
    """Lead from a series to a dashboard that shows its value of a label alone."""
    return _narrowed(uid, label, f"${{__field.labels.{label}}}")


def menu() -> list[Builder[Model]]:
    """Lead from each dashboard to all of its kind, and to the runbooks."""
    boards = (
        DashboardLink("SignalStack dashboards")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
    return [boards, *drawn((Link("Runbooks", "${runbooks}/README.md", new_tab=True),))]


def drawn(links: tuple[Link, ...]) -> list[Builder[Model]]:
    """Write links as Grafana does."""
    return [
        DashboardLink(link.title)
        .type(DashboardLinkType.LINK)
        .icon("doc")
        .url(link.url)
        .target_blank(link.new_tab)
        for link in links
    ]


def _narrowed(uid: str, variable: str, value: str) -> Link:
    kept = "${job:queryparam}&${__url_time_range}"
    return Link(f"{TITLES[uid]}: {value}", f"/d/{uid}?var-{variable}={value}&{kept}")
