"""What a panel asks Prometheus."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, Final

import msgspec
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from boards.series import PROCESS, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.variants import Dataquery as AnyQuery

SLOWEST: Final = "p99"


class Query(msgspec.Struct, frozen=True):
    """An expression and the name of its series; for a table, the name of its column."""

    expression: str
    legend: str
    instant: bool = False
    exemplar: bool = False
    buckets: bool = False
    cells: bool = False


def targets(*queries: Query) -> list[Builder[AnyQuery]]:
    """Write queries as Grafana does, as A, B, C and so on."""
    return [_target(query, letter) for query, letter in zip(queries, ascii_uppercase, strict=False)]


def percentiles(metric: str, where: str = PROCESS, *also: str) -> list[Query]:
    """Ask for the usual three of a histogram; exemplars once, not on each course."""
    return [
        Query(quantile(q, metric, where, *also), name, exemplar=name == SLOWEST)
        for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, SLOWEST))
    ]


def column(expression: str, name: str) -> Query:
    """Ask for a column of a table."""
    return Query(expression, name, instant=True, cells=True)


def merged(queries: Sequence[Query]) -> Iterator[DataTransformerConfig]:
    """Join the answers of a table's queries by their labels, and name the columns."""
    yield DataTransformerConfig("merge", options={})
    names = {
        f"Value #{letter}" if len(queries) > 1 else "Value": query.legend
        for query, letter in zip(queries, ascii_uppercase, strict=False)
    }
    options = {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}
    yield DataTransformerConfig("organize", options=options)


def _target(query: Query, letter: str) -> Dataquery:
    target = (
        Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(letter)
        .editor_mode(QueryEditorMode.CODE)
        .exemplar(query.exemplar)
    )
    target = target.instant() if query.instant else target.range()
    if query.cells:
        return target.format(PromQueryFormat.TABLE)
    return target.format(PromQueryFormat.HEATMAP if query.buckets else PromQueryFormat.TIME_SERIES)
