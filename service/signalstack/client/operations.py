"""What a client can do: each operation once, over whichever way of sending and pausing it has."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from datetime import datetime
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Final, Required, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid4

from signalstack.client.answers import Batch, Job, Page, ReceivedEvent
from signalstack.client.call import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from signalstack.client.call import Outcome

T = TypeVar("T")

MAX_WAIT_S: Final = 60  # the longest that one request may wait
PAGE: Final = "200"


class JobOptions(TypedDict, total=False):
    """How a job is to be run; what is left out is as the service has it."""

    queue: str
    priority: int
    run_at: datetime
    delay_s: float
    max_attempts: int
    timeout_s: float


class JobRequest(JobOptions, total=False):
    """A job of a batch; its payload is anything that msgspec writes as JSON."""

    type: Required[str]
    payload: Any


class JobFilter(TypedDict, total=False):
    """Which jobs are listed: those that fit all of it."""

    status: str
    type: str
    queue: str
    created_after: datetime
    created_before: datetime


class Operations(ABC):
    """The operations of one API with one key. Each may raise ApiError or UnreachableError.

    Those that take a job's id raise ValueError for what is none, before anything is sent.
    """

    def __init__(self, retries: int) -> None:
        self._retries = retries

    @abstractmethod
    async def _try(self, call: Call[Any]) -> Outcome:
        """Make a request once."""

    @abstractmethod
    async def _pause(self, pause_s: float) -> None:
        """Let time pass."""

    async def enqueue(
        self,
        type: str,  # noqa: A002 - the API's name for it
        payload: object = None,
        *,
        wait: int = 0,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Enqueue a job; with `wait` come back when it has ended, or after so many seconds."""
        headers = {"idempotency-key": idempotency_key or str(uuid4())}
        if wait:
            headers["prefer"] = f"wait={wait}"
        body = {"type": type, "payload": payload, **options}
        return await self._send(
            Call(method="POST", path="/jobs", into=Job, body=body, headers=headers, wait_s=wait)
        )

    async def enqueue_many(self, jobs: Sequence[JobRequest]) -> list[Job]:
        """Enqueue up to 1,000 jobs, all or none, in one transaction."""
        # A batch takes no idempotency key, so nobody could tell a repetition from a second one.
        batch = Call(
            method="POST", path="/jobs/batch", into=Batch, body={"jobs": jobs}, repeatable=False
        )
        return (await self._send(batch)).jobs

    async def get(self, job_id: UUID | str) -> Job:
        """Look a job up."""
        return await self._send(Call(method="GET", path=_path(job_id), into=Job))

    async def wait(self, job_id: UUID | str, timeout_s: float = 60.0) -> Job:
        """Wait until a job has ended; TimeoutError when it has not in time."""
        path, until = _path(job_id), time.monotonic() + timeout_s
        while True:
            job = await self._insist(lambda: _look(path, until), until)
            if job.is_final:
                return job
            if round(until - time.monotonic()) <= 0:
                raise TimeoutError(f"job {job_id} is {job.status} after {timeout_s:g} s")

    async def cancel(self, job_id: UUID | str) -> Job:
        """Cancel a job: a waiting one at once, a running one as soon as its worker can."""
        return await self._send(Call(method="POST", path=f"{_path(job_id)}/cancel", into=Job))

    async def retry(self, job_id: UUID | str) -> Job:
        """Run a job again that failed or was cancelled."""
        return await self._send(
            Call(method="POST", path=f"{_path(job_id)}/retry", into=Job, repeatable=False)
        )

    async def jobs(self, **wanted: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Iterate over jobs, newest first; pages are read as they are needed."""
        params = {"limit": PAGE}
        for name, value in wanted.items():
            params[name] = value.isoformat() if isinstance(value, datetime) else str(value)
        while True:
            page = await self._send(Call(method="GET", path="/jobs", into=Page, params=params))
            for job in page.data:
                yield job
            if page.next_cursor is None:
                return
            params = {**params, "cursor": page.next_cursor}

    async def send_event(
        self,
        type: str,  # noqa: A002 - the API's name for it
        payload: object = None,
        *,
        source: str | None = None,
        subject: str | None = None,
        id: str | None = None,  # noqa: A002 - the API's name for it
        occurred_at: datetime | None = None,
    ) -> ReceivedEvent:
        """Tell of an event; with `id` a repeat from the same source is known by it."""
        body = {
            "type": type,
            "payload": payload,
            "source": source,
            "subject": subject,
            "id": id,
            "occurred_at": occurred_at,
        }
        headers = {"idempotency-key": str(uuid4())} if id is None else {}
        return await self._send(
            Call(method="POST", path="/events", into=ReceivedEvent, body=body, headers=headers)
        )

    async def _send(self, call: Call[T]) -> T:
        return await self._insist(lambda: call, inf)

    async def _insist(self, make: Callable[[], Call[T]], until: float) -> T:
        """Make a request, and make it anew while that helps; TimeoutError when it is `until`."""
        for tried in count(1):
            call = make()
            outcome = await self._try(call)
            pause_s = call.pause_s(outcome, tried, random.random())  # noqa: S311 - it only spreads
            if pause_s is None or tried > self._retries:
                return call.conclude(outcome)
            if time.monotonic() + pause_s >= until:
                raise TimeoutError(f"there was no time for another try: {call.told(outcome)}")
            await self._pause(pause_s)
        raise AssertionError("count() has no end")


def _look(path: str, until: float) -> Call[Job]:
    wait_s = max(0, min(round(until - time.monotonic()), MAX_WAIT_S))
    params = {"wait": str(wait_s)}
    return Call(method="GET", path=path, into=Job, params=params, wait_s=wait_s)


def _path(job_id: UUID | str) -> str:
    try:
        # Written anew, so that nothing but a UUID is ever part of the path.
        return f"/jobs/{UUID(str(job_id))}"
    except ValueError:
        raise ValueError(f"job_id must be a UUID or its text, not {str(job_id)[:64]!r}") from None
