"""The choices at the top of a dashboard."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    CustomVariable,
    DatasourceVariable,
    QueryVariable,
    TextBoxVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
SOURCE_UID: Final = "prometheus"  # as grafana/provisioning names it
RUNBOOKS: Final = "/public/runbooks"
WINDOWS: Final = ("1d", "7d", "30d")
# Of queues. All jobs and processes are the list of ours, which Grafana puts in: on a Prometheus
# that others share, `up` and `process_…` have theirs too.
ALL: Final = ".*"


def source() -> DatasourceVariable:
    """Choose the Prometheus that is asked."""
    return (
        DatasourceVariable("datasource")
        .label("Prometheus")
        .type("prometheus")
        .current(VariableOption(selected=True, text="Prometheus", value=SOURCE_UID))
    )


def job() -> QueryVariable:
    """Choose the Prometheus job, that is the installation."""
    return _query("job", "job", "label_values(signalstack_build_info, job)").description(
        "The Prometheus job: one installation of SignalStack."
    )


def instance() -> QueryVariable:
    """Choose processes."""
    values = 'label_values(signalstack_build_info{job=~"$job"}, instance)'
    return _query("instance", "instance", values).description("One process each.")


def queue() -> QueryVariable:
    """Choose queues that had work lately."""
    known = "signalstack_(queue_depth|jobs_enqueued_total|dispatch_latency_seconds_count)"
    values = f'label_values({{__name__=~"{known}", job=~"$job"}}, queue)'
    lately = _query("queue", "queue", values).description("Queues that had work lately.")
    return lately.all_value(ALL)


def kind() -> QueryVariable:
    """Choose one job type."""
    known = "signalstack_(jobs_enqueued_total|job_duration_seconds_count)"
    values = f'label_values({{__name__=~"{known}", job=~"$job"}}, type)'
    chosen = _query("type", "type", values).description("One job type.")
    return chosen.multi(False).include_all(False).current(VariableOption(text="", value=""))


def window() -> CustomVariable:
    """Choose the window of the error budget."""
    chosen = WINDOWS[-1]
    options = [VariableOption(selected=each == chosen, text=each, value=each) for each in WINDOWS]
    return (
        CustomVariable("window")
        .label("budget window")
        .description("Over how long objectives and error budgets are counted.")
        .values(",".join(WINDOWS))
        .options(options)
        .current(VariableOption(selected=True, text=chosen, value=chosen))
    )


def runbooks() -> TextBoxVariable:
    """Say where the runbooks are read; hidden, `&var-runbooks=…` changes it."""
    return (
        TextBoxVariable("runbooks")
        .description("Where docs/runbooks is read, without the last slash.")
        .hide(VariableHide.HIDE_VARIABLE)
        .default_value(RUNBOOKS)
        .current(VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS))
    )


def _query(name: str, label: str, values: str) -> QueryVariable:
    # Grafana's own form of such a query; qryType 1 is "label values".
    query: dict[str, object] = {
        "qryType": 1,
        "query": values,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
