"""`make fuzz`: so many random inputs for all decoders together; prints what became of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from secrets import randbelow
from time import perf_counter
from typing import Any, cast

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzzing.decoders import DECODERS, Decoder

_ROUND = 2_000
# Counting calls makes a case several times as slow, so one of so many is counted.
_COUNTED = 8
# Calls do not tell of a regular expression that goes astray; time does, on any machine.
_PATIENCE_S = 5.0


def main() -> None:
    """Try all decoders; a finding ends it with the input that shows it, made small."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=randbelow(2**32))
    parser.add_argument("--only", default="", help="decoders whose names hold this")
    given_ = parser.parse_args()
    decoders = [decoder for decoder in DECODERS if given_.only in decoder.name]
    if not decoders:
        parser.error(f"no decoder's name holds {given_.only!r}")
    each = -(-given_.cases // len(decoders))
    _tell(f"seed {given_.seed}: {len(decoders)} decoders, {each:,} cases each")
    total, began = 0, perf_counter()
    for decoder in decoders:
        total += _fuzz(decoder, each, given_.seed)
    took_s = perf_counter() - began
    _tell(f"{total:,} cases, nothing found, in {took_s:.0f} s")


def _fuzz(decoder: Decoder, cases: int, first_seed: int) -> int:
    tried = taken = 0
    began, slowest_s = perf_counter(), 0.0

    def run(value: Any) -> None:
        nonlocal tried, taken, slowest_s
        tried += 1
        at = perf_counter()
        taken += decoder.try_on(value, counting=tried % _COUNTED == 0)
        slowest_s = max(slowest_s, perf_counter() - at)
        assert slowest_s < _PATIENCE_S

    turn = 0
    while tried < cases:
        turn += 1
        limited = settings(
            max_examples=min(cases - tried, _ROUND),
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=cast("list[HealthCheck]", list(HealthCheck)),
        )
        seed(first_seed + turn)(limited(given(decoder.inputs)(run)))()
    _tell(
        f"{decoder.name:28} {tried:7,} tried {taken:7,} taken {tried - taken:7,} refused"
        f" {perf_counter() - began:7.1f} s, slowest {slowest_s * 1000:6.1f} ms"
    )
    return tried


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
