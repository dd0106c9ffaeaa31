"""Which jobs an event becomes: a tenant's subscriptions, compiled and kept with their version.

The copy kept here may be out of date. That is found out by the transaction that stores the event,
which compares versions; the event is then matched anew. So a subscription that was answered with
201 is in force for every later event, in whichever process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.document import Json, canonical
from signalstack.core.errors import InvalidError
from signalstack.core.ids import new_id
from signalstack.core.job import NewJob
from signalstack.core.log import get_logger
from signalstack.core.pattern import compile_filter, matches_type
from signalstack.core.subscription import JobTemplate
from signalstack.core.template import Template, compile_template, render
from signalstack.usecases import subscribe

if TYPE_CHECKING:
    from signalstack.core.event import NewEvent
    from signalstack.core.subscription import MatchingSubscription
    from signalstack.store.pool import Pool

TENANTS_LIMIT: Final = 10_000
_log: Final = get_logger("signalstack.events")


class Matcher(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's compiled subscriptions as of a version."""

    version: int
    rules: list[_Rule]

    def match(self, event: NewEvent, *, max_attempts: int) -> list[NewJob]:
        """Make the jobs that the event becomes, in the order of the subscriptions."""
        rules = [rule for rule in self.rules if matches_type(rule.event_type, event.type)]
        if not rules:
            return []
        payload: Json = msgspec.json.decode(event.payload)
        document = _document(event, payload)
        return [
            rule.make(document, max_attempts=max_attempts)
            for rule in rules
            if rule.accepts is None or rule.accepts(payload)
        ]


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    event_type: str
    accepts: Callable[[Json], bool] | None
    template: Template
    job: JobTemplate

    def make(self, document: Json, *, max_attempts: int) -> NewJob:
        return NewJob(
            id=new_id(),
            type=self.job.type,
            payload=canonical(self._payload(document)),
            queue=self.job.queue,
            priority=self.job.priority,
            max_attempts=self.job.max_attempts or max_attempts,
            delay_s=self.job.delay_s,
        )

    def _payload(self, document: Json) -> Json:
        try:
            return render(self.template, document)
        except InvalidError as error:
            # The event is sound and must be kept. Its job is made with a payload that says what
            # went wrong, and fails where its owner looks for failures.
            _log.warning("template_failed", subscription_id=self.id, error=str(error))
            return {"template_error": str(error), "subscription_id": str(self.id)}


def try_out(row: MatchingSubscription, event: NewEvent, *, max_attempts: int) -> NewJob | str:
    """Make the job that one subscription makes of an event, or say why it makes none."""
    rule = _make_rule(row)
    if not matches_type(rule.event_type, event.type):
        return f"the event's type {event.type!r} is not taken: {rule.event_type!r} is"
    payload: Json = msgspec.json.decode(event.payload)
    if rule.accepts is not None and not rule.accepts(payload):
        return "the filter does not take the event's payload"
    return rule.make(_document(event, payload), max_attempts=max_attempts)


class Matchers:
    """Matchers of the tenants whose events came last, a bounded number of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[UUID, Matcher] = OrderedDict()

    async def get(self, user_id: UUID) -> Matcher:
        """Return the tenant's matcher, which may be out of date."""
        known = self._known.get(user_id)
        if known is None:
            return await self.reload(user_id)
        self._known.move_to_end(user_id)
        return known

    async def reload(self, user_id: UUID) -> Matcher:
        """Read the tenant's subscriptions anew."""
        version, rows = await subscribe.load_for_matching(self._pool, user_id)
        rules = [rule for row in rows if (rule := _compile(row)) is not None]
        matcher = Matcher(version=version, rules=rules)
        self._known[user_id] = matcher
        if len(self._known) > TENANTS_LIMIT:
            self._known.popitem(last=False)
        return matcher


def _compile(row: MatchingSubscription) -> _Rule | None:
    """Compile a subscription; one that an older build accepted and this one does not is left out.

    It must not keep the tenant's other subscriptions from their events.
    """
    try:
        return _make_rule(row)
    except InvalidError as error:
        _log.error("subscription_refused", subscription_id=row.id, error=str(error))
        return None


def _make_rule(row: MatchingSubscription) -> _Rule:
    given = row.job.payload
    return _Rule(
        id=row.id,
        event_type=row.event_type,
        accepts=None if row.filter is None else compile_filter(row.filter),
        template=compile_template(None if given is msgspec.UNSET else given),
        job=row.job,
    )


def _document(event: NewEvent, payload: Json) -> Json:
    """Show an event as patterns' templates, and by default its jobs, see it."""
    occurred_at = event.occurred_at
    document: dict[str, Json] = {
        "id": str(event.id),
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "external_id": event.external_id,
        "occurred_at": None if occurred_at is None else msgspec.to_builtins(occurred_at),
        "payload": payload,
    }
    if event.extensions is not None:
        document["extensions"] = msgspec.json.decode(event.extensions)
    return document
