"""How steady the machine is: where it stands still, everybody's p99 tells that and nothing else.

    python tests/bench/peers/pace.py 4    # the share of a busy CPU's time that was slow

A shared machine takes CPUs away for milliseconds, mostly without a word in its own accounts
(steal), so the pace of work that never changes is taken down. `CLOCK_MONOTONIC`, nanoseconds.
"""

from __future__ import annotations

import os
import statistics
import sys
from time import monotonic_ns
from typing import Final

import anyio

_STRETCH_NS: Final = 5_000_000
_SLOW: Final = 3
_STEPS: Final = 2_000


async def slow_share(seconds: float) -> float:
    """Tell in which share of stretches of 5 ms a CPU ran at less than a third of its usual pace.

    All CPUs are busy meanwhile.
    """
    command = [sys.executable, __file__, str(seconds)]
    shares: list[float] = []

    async def measure() -> None:
        shares.append(float((await anyio.run_process(command)).stdout))

    async with anyio.create_task_group() as tasks:
        for _ in range(os.cpu_count() or 1):
            tasks.start_soon(measure)
    return statistics.mean(shares)


def share_of_slow(taken_ns: list[int]) -> float:
    """Tell the share of stretches in which equal pieces of work took 3 times their median."""
    usual = statistics.median(taken_ns or [0])
    stretches: list[bool] = []
    pieces = spent = 0
    for piece in taken_ns:
        pieces, spent = pieces + 1, spent + piece
        if spent >= _STRETCH_NS:
            stretches.append(spent > _SLOW * usual * pieces)
            pieces = spent = 0
    return sum(stretches) / len(stretches) if stretches else 0.0


def _work() -> int:
    total = 0
    for number in range(_STEPS):
        total += number * number
    return total


def main() -> None:
    """Keep one CPU busy for so many seconds and print the share."""
    ends = monotonic_ns() + float(sys.argv[1]) * 1e9
    taken_ns: list[int] = []
    while (began := monotonic_ns()) < ends:
        _work()
        taken_ns.append(monotonic_ns() - began)
    sys.stdout.write(f"{share_of_slow(taken_ns)}\n")


if __name__ == "__main__":
    main()
