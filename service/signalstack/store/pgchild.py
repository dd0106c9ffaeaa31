"""Owns PostgreSQL as our child: it begins and ends with us, also when we end by kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final

from signalstack.store import pglaunch

if TYPE_CHECKING:
    from collections.abc import Callable

    from signalstack.store.pgbinaries import Account

_FAST_DEADLINE_S: Final = 30.0
_IMMEDIATE_DEADLINE_S: Final = 10.0


class Child:
    """PostgreSQL's first process, begun and awaited by a thread that lives exactly as long.

    The kernel signals the death of the *thread* that forked, so it must not be one of a pool's.
    `keep` is a file descriptor that all of PostgreSQL's processes inherit.
    """

    def __init__(self, command: list[str], *, log: int, keep: int, account: Account | None) -> None:
        self.ended = threading.Event()
        self._on_end: Callable[[], object] | None = None
        self._began: Future[subprocess.Popen[bytes]] = Future()
        launch = [sys.executable, "-I", "-S", pglaunch.__file__, str(os.getpid())]
        launch += [str(account.uid), str(account.gid)] if account else [pglaunch.STAY] * 2
        begin = partial(
            subprocess.Popen[bytes],
            [*launch, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(keep,),
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath},
            start_new_session=True,  # Ctrl-C is for us; we say when PostgreSQL stops
        )
        threading.Thread(target=self._live, args=(begin,), name="postgres", daemon=True).start()
        self._process = self._began.result()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def watch(self, on_end: Callable[[], object]) -> None:
        """Have `on_end` called, in another thread, when the process ends without being stopped."""
        self._on_end = on_end
        if self.ended.is_set():
            on_end()

    def stop(self) -> None:
        """End the process: fast, at a deadline immediately, at a second one by force."""
        self._on_end = None
        self._process.send_signal(signal.SIGINT)
        if self.ended.wait(_FAST_DEADLINE_S):
            return
        self._process.send_signal(signal.SIGQUIT)
        if self.ended.wait(_IMMEDIATE_DEADLINE_S):
            return
        self._process.kill()
        self.ended.wait()

    def _live(self, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
        try:
            process = begin()
        except OSError as error:
            self._began.set_exception(error)
            return
        self._began.set_result(process)
        process.wait()
        self.ended.set()
        if on_end := self._on_end:
            on_end()
