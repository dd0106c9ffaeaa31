"""What the processes of a chaos run use, looked at all the while."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import psycopg

if TYPE_CHECKING:
    from chaos.stack import Stack

MAX_RSS_MB: Final = 400
MAX_FDS: Final = 300
MAX_CONNECTIONS: Final = 60
"""Of an API and two workers together: ten of the pool, three to keep house, four of their own."""
_EVERY_S: Final = 0.5


class Usage:
    """The most that was seen of memory, files and connections."""

    def __init__(self) -> None:
        self.rss_mb: dict[str, int] = {}
        self.fds: dict[str, int] = {}
        self.connections = 0

    async def watch(self, stack: Stack) -> None:
        """Look twice a second until cancelled."""
        while True:
            for member in stack.members:
                rss_mb, fds = _usage(member.pid)
                self.rss_mb[member.name] = max(rss_mb, self.rss_mb.get(member.name, 0))
                self.fds[member.name] = max(fds, self.fds.get(member.name, 0))
            with suppress(psycopg.Error, OSError):
                (row,) = await stack.rows(
                    "SELECT count(*) AS n FROM pg_stat_activity"
                    " WHERE starts_with(application_name, 'signalstack')"
                )
                self.connections = max(self.connections, int(row["n"]))
            await anyio.sleep(_EVERY_S)

    def violations(self) -> list[str]:
        """Say what was more than it may be."""
        return [
            *(f"B: {n} held {mb} MB" for n, mb in self.rss_mb.items() if mb > MAX_RSS_MB),
            *(f"B: {n} had {fds} files open" for n, fds in self.fds.items() if fds > MAX_FDS),
            *(
                [f"B: there were {self.connections} connections"]
                if self.connections > MAX_CONNECTIONS
                else []
            ),
        ]


def _usage(pid: int) -> tuple[int, int]:
    """Return a process's resident memory in MB and its open files; zeros when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0, 0
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines.get("VmRSS", "0 kB").split()[0]) // 1024, fds
