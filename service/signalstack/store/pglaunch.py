"""Owns the step between our process and PostgreSQL: drops root, ties its life to its parent's.

A script of the standard library alone, run in a process of its own: between fork and exec of a
process with threads, Python code may deadlock. `exec` keeps the pid, so PostgreSQL stays our child.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
STAY: Final = "-"  # in place of uid and gid: stay the user that we are


def main(parent: str, uid: str, gid: str, *command: str) -> None:
    """Become `command`, as user `uid` and group `gid`, for as long as process `parent` lives."""
    if uid != STAY:
        os.setgroups([])
        os.setresgid(int(gid), int(gid), int(gid))
        os.setresuid(int(uid), int(uid), int(uid))
    os.umask(0o077)
    if sys.platform == "linux":
        # After the change of user, which clears it. SIGQUIT is PostgreSQL's immediate shutdown.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the line above; then no signal would ever come.
    if os.getppid() != int(parent):
        raise SystemExit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
