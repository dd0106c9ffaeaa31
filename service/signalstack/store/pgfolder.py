"""Owns the data folder of an embedded PostgreSQL: its lock, its parts, who may enter them.

    data_dir/          ours; as root others may pass through it, but not list it
        lock           held by us and by every PostgreSQL process that we start
        dsn            how other processes of the same user connect
        postgres.log   what PostgreSQL says
        cluster/       PostgreSQL's own, 0700
        run/           the socket, 0700: who can enter it could read the cluster's files too

As root nothing is ever written by us into a folder that the unprivileged user owns.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signalstack.core.errors import EmbeddedError
from signalstack.store.pgbinaries import may_enter

if TYPE_CHECKING:
    from signalstack.store.pgbinaries import Account

SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_LIMIT: Final = 107  # sun_path, less its final zero
_LOG_LIMIT_BYTES: Final = 10_000_000
_LOCK_DEADLINE_S: Final = 20.0
_LOCK_PAUSE_S: Final = 0.05


def adopt(data_dir: Path) -> None:
    """Make the data folder, or accept one that is empty or ours.

    Raises:
        EmbeddedError: it cannot be made, belongs to another user, or holds something else.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = {path.name for path in data_dir.iterdir()}
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data_dir} cannot be used: {error.strerror}. Choose another."
        ) from error
    if data_dir.stat().st_uid != os.geteuid():
        raise EmbeddedError(
            f"The data folder {data_dir} belongs to user {data_dir.stat().st_uid}, not to "
            f"{os.geteuid()}: run as that user, or choose another folder."
        )
    if names and "lock" not in names:
        raise EmbeddedError(
            f"{data_dir} is neither empty nor a data folder of SignalStack: choose another."
        )


def lock(data_dir: Path) -> int:
    """Take the folder's lock and give its file descriptor.

    PostgreSQL inherits the descriptor: after a kill -9 of ours the lock stays taken until its last
    process is gone, which is waited for.

    Raises:
        EmbeddedError: a living process holds it; the message names its pid.
    """
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode().strip()
            if _lives(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise EmbeddedError(
                    f"The data folder {data_dir} is in use by process {holder}: "
                    "stop that one, or choose another folder."
                ) from None
            threading.Event().wait(_LOCK_PAUSE_S)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def open_to(data_dir: Path, account: Account | None) -> None:
    """Close the data folder to others, but let `account` pass; its parents stay as they are.

    Raises:
        EmbeddedError: a parent keeps the account out.
    """
    data_dir.chmod(0o711 if account else 0o700)
    if account is None:
        return
    for folder in (*reversed(data_dir.parents), data_dir):
        if not may_enter(folder, account):
            raise EmbeddedError(
                "PostgreSQL refuses to run as root, and the user who would run it, "
                f"{account.name}, may not enter {folder}: choose a data folder elsewhere, such as "
                "/var/lib/signalstack, or run SignalStack as an ordinary user."
            )


def socket_folder(data_dir: Path, account: Account | None) -> Path:
    """Make the private folder of the socket: beside the data, or in /tmp when that path is long."""
    folder = data_dir / "run"
    if len(os.fsencode(folder / SOCKET)) > _SOCKET_PATH_LIMIT:
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        folder = Path("/tmp") / f"signalstack-{digest}"  # noqa: S108 - its owner and mode are checked
    make_private(folder, account)
    return folder


def make_private(folder: Path, account: Account | None) -> None:
    """Make a folder that only PostgreSQL's user may enter, or check that one is so."""
    owner = account.uid if account else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if found.st_mode != stat.S_IFDIR | 0o700 or found.st_uid != owner:
            raise EmbeddedError(
                f"{folder} is not a folder of mode 0700 that belongs to user {owner}: remove it."
            ) from None
    else:
        if account:
            os.chown(folder, account.uid, account.gid)


def open_log(data_dir: Path) -> int:
    """Open the log to append to, after putting a long one aside; give its file descriptor."""
    path = data_dir / "postgres.log"
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.old"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def clear_stale(cluster: Path, socket: Path) -> None:
    """Remove the files that a killed PostgreSQL left to say that it runs; the lock must be held.

    PostgreSQL would trust them when another process of the same user has that pid by now, as is
    usual in a container that was started again, or when nobody has reaped the killed one.

    Raises:
        EmbeddedError: somebody else started a PostgreSQL on this cluster, and it runs.
    """
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            # Somebody's shell, or we ourselves, may stand there as well.
            at_home = entry.readlink() == cluster and _is_postgresql(entry.parent)
        except OSError:
            continue  # gone meanwhile, or another user's
        if at_home:
            raise EmbeddedError(
                f"A PostgreSQL that we did not start (process {entry.parent.name}) runs on "
                f"{cluster}: stop it with pg_ctl first."
            )
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    for name in (SOCKET, f"{SOCKET}.lock"):
        (socket / name).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, from its first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def tidy(data_dir: Path, socket: Path) -> None:
    """Remove what says how to connect; the socket's folder may be in /tmp, so it goes too."""
    (data_dir / "dsn").unlink(missing_ok=True)
    with suppress(OSError):  # what is left in it is cleared by the next start
        socket.rmdir()


def _is_postgresql(process: Path) -> bool:
    return (process / "comm").read_text(errors="replace").strip() == "postgres"


def _lives(holder: str) -> bool:
    if not holder.isdecimal():
        return True  # it has the lock and is about to write its pid
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
