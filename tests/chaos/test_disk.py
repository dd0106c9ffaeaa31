"""A disk that runs full: nothing acknowledged is lost, and work goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from chaos.promises import kept, more, open_folder, runs_a_job, until
from chaos.stack import open_stack
from programs import find

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

SIZE_MB = 400


@contextmanager
def _small_disk(path: Path) -> Generator[None]:
    path.mkdir()
    command = [find("mount"), "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", str(path)]
    if os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("a tmpfs of a small size can be mounted by root alone")
    try:
        yield
    finally:
        subprocess.run([find("umount"), "-l", str(path)], check=True)


@pytest.mark.timeout(180)
async def test_a_full_disk_loses_nothing_and_is_told_as_unavailability() -> None:
    with open_folder() as folder, _small_disk(folder / "data"):
        async with open_stack(folder) as stack, kept(stack) as told:
            await more(told)
            ballast = folder / "data" / "ballast"
            await anyio.to_thread.run_sync(_fill, ballast)
            refused = told.statuses[503] + told.unanswered

            async def is_told() -> bool:
                return told.statuses[503] + told.unanswered > refused + 20

            await until(is_told)
            ballast.unlink()
            if await anyio.to_thread.run_sync(lambda: stack.postgres_has_ended):
                # Without room for its log PostgreSQL ends itself; who runs it starts it again.
                await stack.stop_postgres()
                await stack.start_postgres()
            took_s = await runs_a_job(stack)
            await more(told)
    assert took_s < 15
    assert told.statuses[503] > 0


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        chunk = bytes(1024 * 1024)
        while len(chunk) > 256:
            try:
                file.write(chunk)
            except OSError:
                chunk = chunk[: len(chunk) // 2]
