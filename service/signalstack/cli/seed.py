"""The command `seed`: samples of everything, so that nothing a newcomer looks at is empty."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import click

from signalstack.cli.outcome import run
from signalstack.client import AsyncClient, ClientError
from signalstack.core.message import JOB_TYPE, QUEUE

if TYPE_CHECKING:
    from random import Random

    from signalstack.client import JobRequest

MOST: Final = 100_000
BATCH: Final = 500

_NAMES: Final = ("Ada", "Berk", "Chioma", "Dmitri", "Elif", "Farid", "Grace", "Hana")
_TEXTS: Final = (
    "Hello {name}, your order {order} is on its way.",
    "{name}, your table is booked for {hour}:00.",
    "Your code is {code}. It is good for five minutes.",
    "{name}, the item you asked for is back: {order}.",
)
_EVENTS: Final = ("order.created", "order.paid", "order.shipped", "user.signed_up", "cart.left")


@click.command()
@click.option("--messages", type=click.IntRange(0, MOST), default=100, show_default=True)
@click.option("--events", type=click.IntRange(0, MOST), default=0, show_default=True)
@click.option("--jobs", type=click.IntRange(0, MOST), default=0, show_default=True)
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the API is.")
@click.option("--key", required=True, help="An API key that may write; `up` prints the first one.")
def seed(messages: int, events: int, jobs: int, url: str, key: str) -> None:
    """Make sample messages, events and jobs through the API, as its users would.

    Messages are sent, if WEBHOOK_URL is set, at the pace of the sender.
    """
    try:
        client = AsyncClient(url, key)
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    async def work() -> None:
        luck = random.Random()  # noqa: S311 - samples are no secrets
        async with client:
            await _enqueue(client, [_message(luck) for _ in range(messages)])
            for n in range(events):
                await client.send_event(luck.choice(_EVENTS), _order(luck, n), source="/seed")
            await _enqueue(client, [_job(luck) for _ in range(jobs)])

    try:
        run(work)
    except ClientError as error:
        raise click.ClickException(f"{url}: {error}") from None
    click.echo(f"made {messages} messages, {events} events and {jobs} jobs at {url}")


async def _enqueue(client: AsyncClient, wanted: list[JobRequest]) -> None:
    for start in range(0, len(wanted), BATCH):
        await client.enqueue_many(wanted[start : start + BATCH])


def _message(luck: Random) -> JobRequest:
    text = luck.choice(_TEXTS).format(
        name=luck.choice(_NAMES),
        order=f"A-{luck.randrange(1_000, 10_000)}",
        hour=luck.randrange(12, 22),
        code=f"{luck.randrange(1_000_000):06}",
    )
    number = f"+90555{luck.randrange(10_000_000):07}"
    return {
        "type": JOB_TYPE,
        "queue": QUEUE,
        "payload": {"phone_number": number, "content": text},
    }


def _order(luck: Random, n: int) -> dict[str, object]:
    return {"order": f"A-{n:04}", "amount": luck.randrange(500, 50_000), "currency": "EUR"}


def _job(luck: Random) -> JobRequest:
    if luck.random() < 0.2:  # noqa: PLR2004 - one in five, so that there are two types to see
        days = {"from": "2026-01-01", "to": "2026-01-31"}
        report = {"kind": "timeseries", "format": "csv", **days}
        return {"type": "generate_report", "payload": report}
    if luck.random() < 0.1:  # noqa: PLR2004 - and some that wait for a while
        return {"type": "noop", "payload": None, "delay_s": luck.uniform(5, 600)}
    return {"type": "noop", "payload": None, "priority": luck.randrange(3)}
