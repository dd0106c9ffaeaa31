"""Drives the real service over HTTP while it is harmed, then checks what was promised.

    python tests/chaos/run.py --seconds 600 --seed 7

The seed chooses the faults, their order and what callers ask; it is printed, so that a run can be
made again. What depends on the machine's own timing differs between two runs of one seed.
"""

from __future__ import annotations

import random
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import click
import httpx2
import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script's own folder comes first otherwise

from chaos.checker import check, percentile
from chaos.faults import FAULTS, Fault
from chaos.ledger import Told, read_spans
from chaos.load import Load
from chaos.stack import TENANTS, open_stack
from chaos.usage import Usage

if TYPE_CHECKING:
    from chaos.stack import Stack

_OK: Final = 200
CALLERS: Final = 6
CALM_S: Final = 1.0
PROBE_S: Final = 60.0
DRAIN_S: Final = 60.0


class Summary(msgspec.Struct, kw_only=True):
    """What a run did and found."""

    seed: int
    seconds: float
    jobs: int = 0
    runs: int = 0
    answers: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    unanswered: int = 0
    faults: dict[str, list[float]] = msgspec.field(default_factory=dict[str, list[float]])
    """Seconds from the end of each fault until a new job had run, by kind."""
    starts: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    ticks: int = 0
    rss_mb: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """The most memory that each process held, and so on."""
    fds: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    connections: int = 0
    violations: list[str] = msgspec.field(default_factory=list[str])
    logs: dict[str, str] = msgspec.field(default_factory=dict[str, str])


async def run(
    folder: Path, *, seed: int, seconds: float, faults: tuple[Fault, ...] = FAULTS
) -> Summary:
    """Harm the service for so long, each kind of fault once before any comes again."""
    rng = random.Random(seed)  # noqa: S311 - it is to be repeatable
    summary, told, usage = Summary(seed=seed, seconds=seconds), Told(), Usage()
    async with open_stack(folder) as stack:
        load = Load(stack, told, random.Random(rng.random()))  # noqa: S311 - the same
        async with anyio.create_task_group() as watching:
            watching.start_soon(usage.watch, stack)
            async with anyio.create_task_group() as calling:
                calling.start_soon(load.run, CALLERS)
                await _harm(stack, summary, faults, rng)
                load.stop()
            await _drain(stack, summary)
            watching.cancel_scope.cancel()
        await _conclude(stack, summary, told, usage)
    return summary


async def _harm(
    stack: Stack, summary: Summary, faults: tuple[Fault, ...], rng: random.Random
) -> None:
    """Strike until the time is over, and take note of how soon work went on."""
    until = anyio.current_time() + summary.seconds
    while True:
        for fault in rng.sample(faults, len(faults)):
            if anyio.current_time() >= until:
                return
            await anyio.sleep(CALM_S)
            took_s = await _suffer(stack, fault, rng)
            summary.faults.setdefault(fault.name, []).append(round(took_s, 3))
            _say(f"{took_s:6.2f} s  {fault.name}")
            if took_s > fault.limit_s:
                summary.violations.append(
                    f"R: after {fault.name!r} a job took {took_s:.1f} s,"
                    f" more than {fault.limit_s:g} s"
                )


async def _conclude(stack: Stack, summary: Summary, told: Told, usage: Usage) -> None:
    spans = read_spans(stack.ledger)
    summary.violations += await check(stack, told, spans)
    summary.violations += usage.violations()
    summary.rss_mb, summary.fds = usage.rss_mb, usage.fds
    summary.connections = usage.connections
    (row,) = await stack.rows("SELECT count(*) AS n FROM signalstack.schedule_ticks")
    summary.ticks = int(row["n"])
    summary.jobs, summary.runs = len(told.acknowledged), len(spans)
    summary.logs = {member.name: member.said() for member in stack.members}
    summary.starts = {member.name: member.starts for member in stack.members}
    summary.answers = {str(status): n for status, n in sorted(told.statuses.items())}
    summary.unanswered = told.unanswered


async def _suffer(stack: Stack, fault: Fault, rng: random.Random) -> float:
    """Strike, then return how many seconds it took until a new job had run."""
    await fault.strike(stack, rng)
    began = anyio.current_time()
    body: dict[str, object] = {"type": "chaos", "payload": {"seconds": 0}, "priority": 100}
    with anyio.move_on_after(PROBE_S):
        async with stack.client(TENANTS[0], timeout_s=PROBE_S) as client:
            while True:
                with suppress(httpx2.HTTPError):
                    answer = await client.post(
                        "/v1/jobs", json=body, headers={"prefer": f"wait={int(PROBE_S)}"}
                    )
                    if answer.status_code == _OK:
                        break
                await anyio.sleep(0.02)
    return anyio.current_time() - began


async def _drain(stack: Stack, summary: Summary) -> None:
    """Wait until nothing is left to do."""
    with anyio.move_on_after(DRAIN_S):
        while await stack.rows("SELECT id FROM signalstack.jobs LIMIT 1"):  # noqa: ASYNC110 - others work
            await anyio.sleep(0.1)
        return
    summary.violations.append(f"D: jobs were left {DRAIN_S:g} s after the last fault")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="How long to do harm.")
@click.option("--seed", type=int, help="Chooses what happens; by default another each time.")
@click.option("--only", help="Only faults whose names hold this.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write a report.")
def main(seconds: float, seed: int | None, only: str | None, report: Path | None) -> None:
    """Harm the service for a while and check what it promises; exit 1 when a promise broke."""
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    faults = tuple(fault for fault in FAULTS if only is None or only in fault.name)
    _say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="signalstack-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        work = partial(run, folder, seed=seed, seconds=seconds, faults=faults)
        summary = anyio.run(work)
    if report is not None:
        report.write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
    if summary.violations:
        for name, said in summary.logs.items():
            Path(f"chaos-{name}.log").write_text(said)
    _tell(summary)
    sys.exit(1 if summary.violations else 0)


def _tell(summary: Summary) -> None:
    took = [second for seconds in summary.faults.values() for second in seconds]
    _say(
        f"\n{summary.jobs} jobs acknowledged, {summary.runs} runs, {len(took)} faults of"
        f" {len(summary.faults)} kinds; recovery p50 {percentile(took, 0.5):.2f} s,"
        f" p99 {percentile(took, 0.99):.2f} s"
    )
    _say(f"answers {summary.answers}, unanswered {summary.unanswered}, starts {summary.starts}")
    _say(
        f"most memory {summary.rss_mb} MB, files {summary.fds}, connections {summary.connections};"
        f" {summary.ticks} ticks"
    )
    for violation in summary.violations:
        _say(f"VIOLATION  {violation}")
    _say("no violation" if not summary.violations else f"{len(summary.violations)} violations")


if __name__ == "__main__":
    main()
