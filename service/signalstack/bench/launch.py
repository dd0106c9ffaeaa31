"""Owns the step between the bench and a process of its own: sets variables, ties the lives.

A script of the standard library alone: `launch.py PARENT NAME=VALUE … -- COMMAND …`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main(parent: str, *words: str) -> None:
    """Become the command, for as long as process `parent` lives."""
    end = words.index("--")
    for word in words[:end]:
        name, _, value = word.partition("=")
        os.environ[name] = value  # noqa: TID251 - it is written for the command, not read
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the line above; then no signal would ever come.
    if os.getppid() != int(parent):
        raise SystemExit(1)
    command = words[end + 1 :]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
