"""The front door for tests: an application behind HTTP, in the process or over a real socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import anyio
import httpx2
import msgspec
from starlette.types import ASGIApp

from contexts import Witness
from signalstack.api.app import create_app
from signalstack.api.middleware import Edge
from signalstack.api.operation import AnyOperation, routes
from signalstack.api.parts import Check, Limits, Parts
from signalstack.api.serve import bind, serve
from signalstack.core.cursor import Cursors
from signalstack.core.handler import JobType
from signalstack.core.key import Scope
from signalstack.handlers.noop import NOOP
from signalstack.store.intake import SESSION, STATEMENTS, Intake, make_beside
from signalstack.store.link import Link
from signalstack.store.listener import CHANGED
from signalstack.store.pool import Pool
from signalstack.store.watch import STATEMENTS as OUTCOMES
from signalstack.store.watch import outcome
from signalstack.usecases.accept import Acceptor
from signalstack.usecases.authenticate import Authenticator
from signalstack.usecases.browse import load_cursors
from signalstack.usecases.keys import create_key
from signalstack.usecases.queues import KnownQueues
from signalstack.usecases.wait import Watchers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from signalstack.api.rate_limit import RateLimit
    from signalstack.core.handler import Context
    from signalstack.core.stage import Observer
    from signalstack.store.cache import MessageCache

READ_LIMIT = 65_536
PATIENCE_S = 10


def edge_alone(
    operations: Sequence[AnyOperation],
    observer: Observer,
    limits: Limits | None = None,
    readiness: Mapping[str, Check] | None = None,
) -> ASGIApp:
    """Build an application of operations that need no database, and give them none."""
    parts = Parts(
        pool=cast("Pool", None),
        acceptor=cast("Acceptor", None),
        authenticator=cast("Authenticator", None),
        queues=cast("KnownQueues", None),
        watchers=cast("Watchers", None),
        observer=observer,
        registry={},
        cursors=Cursors(b"no lists here"),
        readiness=readiness or {},
        limits=limits or Limits(),
    )
    return Edge(routes(operations, parts), observer)


@asynccontextmanager
async def client_of(app: ASGIApp, key: str | None = None) -> AsyncGenerator[httpx2.AsyncClient]:
    """Give a client that speaks to the application without a socket, with a key if given."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://api.test", headers=headers
    ) as client:
        yield client


@asynccontextmanager
async def served(
    app: ASGIApp, *, shutdown: anyio.Event | None = None, grace_s: float = 5.0
) -> AsyncGenerator[int]:
    """Serve the application by Hypercorn on a free port, and give the port; ends with the block."""
    ending = shutdown or anyio.Event()

    async def run(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        await serve(
            app,
            at=await bind("127.0.0.1", 0),
            shutdown=ending,
            grace_s=grace_s,
            task_status=task_status,
        )

    async with anyio.create_task_group() as tasks:
        yield await tasks.start(run)
        ending.set()


async def talk(port: int, *sent: bytes, end: bool = False) -> bytes:
    """Send bytes over a connection of their own and read until the other side closes it.

    With `end` our side is closed first, as by a caller who has left.
    """
    heard = b""
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            for part in sent:
                await stream.send(part)
            if end:
                await stream.send_eof()
            try:
                while True:
                    heard += await stream.receive(READ_LIMIT)
            except anyio.EndOfStream:
                return heard


class Payload(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the job type `greet` takes."""

    to: str
    times: int = 1


async def _greet(_payload: Payload, _context: Context) -> None:
    """Never run here: these tests have no worker."""


GREET: Final = JobType(name="greet", payload=Payload, run=_greet, is_async=True)


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The whole application on a database, with clients that hold keys of two tenants."""

    app: ASGIApp
    pool: Pool
    link: Link
    watchers: Watchers
    witness: Witness
    anonymous: httpx2.AsyncClient
    client: httpx2.AsyncClient
    stranger: httpx2.AsyncClient


@asynccontextmanager
async def open_front(
    dsn: str,
    *,
    rate_limit: RateLimit | None = None,
    limits: Limits | None = None,
    key_ttl_s: float = 10.0,
    job_types: Sequence[JobType] = (NOOP, GREET),
    keys: bool = True,
    message_cache: MessageCache | None = None,
) -> AsyncGenerator[Front]:
    """Build the whole application as one process has it, without a worker.

    Without `keys` its clients have none, and its login need not be able to make them.
    """
    witness = Witness()
    registry = {job_type.name: job_type for job_type in job_types}
    async with Pool(dsn, witness) as pool:
        watchers = Watchers(pool, lambda user_id, job_id: outcome(link, user_id, job_id))
        link = Link(
            "intake",
            dsn,
            (*STATEMENTS, *OUTCOMES),
            witness,
            settings=SESSION,
            channels=(CHANGED,),
            on_notify=watchers.heard,
        )
        beside = make_beside(dsn, witness)
        await link.open()
        await beside.open()
        queues = KnownQueues(pool)
        intake = Intake(link, witness, beside=beside)
        parts = Parts(
            pool=pool,
            acceptor=Acceptor(pool, intake, registry, witness, queues, max_attempts=3),
            authenticator=Authenticator(pool, ttl_s=key_ttl_s),
            queues=queues,
            watchers=watchers,
            observer=witness,
            registry=registry,
            cursors=await load_cursors(pool),
            readiness={},
            rate_limit=rate_limit,
            limits=limits or Limits(),
            message_cache=message_cache,
        )
        app = create_app(parts)
        async with (
            client_of(app) as anonymous,
            client_of(app, await make_key(pool, "acme", *Scope) if keys else None) as client,
            client_of(app, await make_key(pool, "other", *Scope) if keys else None) as stranger,
        ):
            yield Front(
                app=app,
                pool=pool,
                link=link,
                watchers=watchers,
                witness=witness,
                anonymous=anonymous,
                client=client,
                stranger=stranger,
            )
        link.drop("closed")
        beside.drop("closed")


async def make_key(pool: Pool, tenant: str, *scopes: Scope) -> str:
    """Make a key for a tenant, who is made when new, and return its token."""
    token, _ = await create_key(pool, tenant, scopes, env="test")
    return token
