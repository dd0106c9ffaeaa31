"""Draws a picture for a terminal, narrow or wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from signalstack.top.hints import find_hints
from signalstack.top.words import (
    NOTHING,
    write_count,
    write_memory,
    write_quantile,
    write_rate,
    write_seconds,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from signalstack.top.lines import ProcessLine, QueueLine
    from signalstack.top.picture import Picture, Rates

WIDE: Final = 110
_LEAST_ROWS: Final = 3
_LINES_BESIDE: Final = 24  # what else stands on a frame that has all its parts
_GOOD: Final = "green"
_BAD: Final = "bold red"
_DIM: Final = "dim"


def render(picture: Picture, *, title: str, width: int, height: int | None) -> RenderableType:
    """Lay a picture out; `height` None shows every queue."""
    wide = width >= WIDE
    hints = find_hints(picture)
    room = None
    if height is not None:
        beside = _LINES_BESIDE + len(picture.processes) + len(hints) + (0 if wide else 9)
        room = max(_LEAST_ROWS, height - beside)
    top: list[RenderableType] = [_rates(picture), _latencies(picture)]
    return Group(
        _head(picture, title),
        *(Text(f"! {hint}", style=_BAD) for hint in hints),
        *([_beside(*top)] if wide else top),
        _queues(picture, room=room, wide=wide),
        _processes(picture, wide=wide),
    )


def _head(picture: Picture, title: str) -> Text:
    here = sum(line.away is None for line in picture.processes)
    total = len(picture.processes)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("signalstack top", style="bold")
    text.append(f"  {here} of {total} target{'' if total == 1 else 's'}  {title}", style=_DIM)
    return text


def _rates(picture: Picture) -> Table:
    table = _table("Rates, 1/s", "", title_style="bold")
    rates = picture.rates
    if rates is None:
        table.add_row("from the second look on", NOTHING, style=_DIM)
        return table
    for name, value in _rate_rows(rates):
        bad = value > 0 and name in {"failed", "retried", "rescued", "stale", "HTTP 5xx"}
        table.add_row(name, write_rate(value), style=_BAD if bad else "" if value else _DIM)
    return table


def _rate_rows(rates: Rates) -> list[tuple[str, float]]:
    rare = {"rescued": rates.rescued, "stale": rates.stale, "HTTP 5xx": rates.errors}
    return [
        ("HTTP requests", rates.requests),
        ("events", rates.events),
        ("enqueued", rates.enqueued),
        *rates.outcomes.items(),
        ("retried", rates.retries),
        *((f"webhooks {outcome}", rate) for outcome, rate in rates.webhooks.items() if rate),
        *((name, rate) for name, rate in rare.items() if rate),
    ]


def _latencies(picture: Picture) -> Table:
    table = _table("Latency", "1/s", "p50", "p99")
    for name, spread in picture.latencies.items():
        table.add_row(
            name,
            write_rate(spread.rate),
            write_quantile(spread.p50),
            write_quantile(spread.p99),
            style="bold" if name == "dispatch" and spread.p50 else "" if spread.p50 else _DIM,
        )
    if picture.wakes:
        shares = ", ".join(f"{cause} {share:.0%}" for cause, share in picture.wakes.items())
        table.caption = f"woken by {shares}"
    table.caption_justify = "left"
    return table


def _queues(picture: Picture, *, room: int | None, wide: bool) -> RenderableType:
    more = ("scheduled", "workers", "p50", "p99") if wide else ("p99",)
    table = _table("Queue", "pending", "running", "oldest", "in/s", "out/s", *more)
    lines = picture.queues if room is None else picture.queues[:room]
    for line in lines:
        table.add_row(*_queue_cells(line, wide=wide), style=_queue_style(line))
    if hidden := len(picture.queues) - len(lines):
        table.add_row(_name(f"and {hidden} more"), style=_DIM)
    if not picture.queues:
        table.add_row("none yet", style=_DIM)
    elif picture.gauges_age_s is not None:
        table.caption = f"depths as the leader read them {write_seconds(picture.gauges_age_s)} ago"
    elif all(not line.depth for line in picture.queues):
        table.caption = "depths are told by the process that leads: not by one of these so far"
    table.caption_justify = "left"
    return table


def _queue_cells(line: QueueLine, *, wide: bool) -> list[RenderableType]:
    spread = line.dispatch
    tail = write_quantile(spread.p99) if spread else NOTHING
    cells: list[RenderableType] = [
        _name(f"{line.name} (paused)" if line.paused else line.name),
        write_count(line.depth.get("pending")),
        write_count(line.depth.get("running")),
        write_seconds(line.oldest_s or None),
        write_rate(line.enqueued),
        write_rate(line.finished),
    ]
    if not wide:
        return [*cells, tail]
    return [
        *cells,
        write_count(line.depth.get("scheduled")),
        write_count(line.workers),
        write_quantile(spread.p50) if spread else NOTHING,
        tail,
    ]


def _queue_style(line: QueueLine) -> str:
    if line.paused or (line.workers == 0 and line.depth.get("pending")):
        return "yellow"
    idle = not any(line.depth.values()) and not line.enqueued and not line.finished
    return _DIM if idle else ""


def _processes(picture: Picture, *, wide: bool) -> Table:
    more = ("CPU", "memory", "version") if wide else ()
    table = _table("Process", "role", "slots", "listener", "leader", *more)
    for column in table.columns[1:]:
        column.justify = "left"
    for line in picture.processes:
        if line.away is not None:
            table.add_row(_name(line.target), "away", style=_BAD)
        else:
            table.add_row(*_process_cells(line, wide=wide))
    if picture.workers:
        counts = ", ".join(f"{count} {state}" for state, count in picture.workers.items())
        table.caption = f"workers on record: {counts}"
    table.caption_justify = "left"
    return table


def _process_cells(line: ProcessLine, *, wide: bool) -> list[RenderableType]:
    slots = NOTHING
    if line.busy is not None and line.free is not None:
        slots = f"{line.busy} of {line.busy + line.free} busy"
    cells: list[RenderableType] = [
        _name(line.target),
        line.role or NOTHING,
        slots,
        Text(line.listener or NOTHING, style=_BAD if line.listener == "polling" else _GOOD),
        {True: "leads", False: "stands by", None: NOTHING}[line.leads],
    ]
    if not wide:
        return cells
    cpu = NOTHING if line.cpu is None else f"{line.cpu:.0%}"
    return [*cells, cpu, write_memory(line.memory), line.version]


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 4))
    grid.add_row(left, right)
    return grid


def _name(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _table(first: str, *others: str, title_style: str = "") -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style=title_style or "bold", pad_edge=False)
    # Where there is no room for all, only a column that may wrap shrinks: the names', not figures.
    table.add_column(_name(first))
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table
