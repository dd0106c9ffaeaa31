"""Which jobs an event becomes: a tenant's subscriptions, compiled and kept with their version.

The copy kept here may be out of date. That is found out by the transaction that stores the event,
which compares versions; the event is then matched anew. So a subscription that was answered with
201 is in force for every later event, in whichever process.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from signalstack.core.budget import STEPS, Budget, CostError
from signalstack.core.document import Json, canonical
from signalstack.core.errors import InvalidError
from signalstack.core.ids import new_id
from signalstack.core.job import NewJob
from signalstack.core.log import get_logger
from signalstack.core.pattern import Filter, compile_filter, matches_type
from signalstack.core.subscription import MAX_BYTES, JobTemplate, Unfilled
from signalstack.core.template import Template, compile_template, render
from signalstack.usecases import subscribe
from signalstack.usecases.aside import aside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from signalstack.core.event import NewEvent
    from signalstack.core.subscription import MatchingSubscription
    from signalstack.store.pool import Pool

# Of compiled subscriptions, those of so many tenants are kept, and of so many bytes.
TENANTS_LIMIT: Final = 10_000
_KEPT_BYTES: Final = 2 * MAX_BYTES
# What one event's filters and templates may take together; each has some whatever others took.
_STEPS: Final = 500_000
_STEPS_LEAST: Final = 500
# So much the event loop may be held up by: some milliseconds. What takes longer goes to a thread.
_STEPS_AT_ONCE: Final = 2_000
_COMPILED_AT_ONCE: Final = 4_096
_RULE_STEPS: Final = 5
# What one event's jobs may hold together; the first may be as large as an event can be.
MADE_BYTES: Final = 16 * 1024**2

_TOO_LARGE: Final = f"what the subscriptions make of this event exceeds {MADE_BYTES:,} bytes"

_log: Final = get_logger("signalstack.events")


class Matcher(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's compiled subscriptions as of a version."""

    version: int
    rules: list[_Rule]

    @property
    def size(self) -> int:
        """The bytes that were compiled."""
        return sum(len(rule.source) for rule in self.rules)

    def match_at_once(self, event: NewEvent, *, max_attempts: int) -> list[NewJob] | None:
        """Do as `match`, unless that takes long: then None."""
        return self._make(event, max_attempts, steps=_STEPS_AT_ONCE, least=0)

    def match(self, event: NewEvent, *, max_attempts: int) -> list[NewJob]:
        """Make the jobs that the event becomes, in the order of the subscriptions."""
        return self._make(event, max_attempts, steps=_STEPS, least=_STEPS_LEAST) or []

    def _make(
        self, event: NewEvent, max_attempts: int, *, steps: int, least: int
    ) -> list[NewJob] | None:
        rules = [rule for rule in self.rules if matches_type(rule.event_type, event.type)]
        if not rules:
            return []
        view = _View(event)
        made: list[NewJob] = []
        failed: list[tuple[UUID, str]] = []
        size = 0
        for rule in rules:
            given = min(STEPS, max(steps, least))
            budget = Budget(given)
            try:
                payload = rule.fill(view, budget)
                if made and payload is not None and size + len(payload) > MADE_BYTES:
                    raise InvalidError.at(rule.template.pointer, _TOO_LARGE)
            except InvalidError as error:
                if budget.left < 0 and not least:
                    return None
                payload = rule.explain(error)
                failed.append((rule.id, str(error)))
            steps -= given - budget.left
            if payload is not None:
                size += len(payload)
                made.append(rule.make(payload, max_attempts=max_attempts))
        for id_, reason in failed:
            _log.warning("template_failed", subscription_id=id_, error=reason)
        return made


class _View:
    """An event as filters and templates see it."""

    def __init__(self, event: NewEvent) -> None:
        self.payload: Json = msgspec.json.decode(event.payload)
        self.document = _document(event, self.payload)

    @cached_property
    def whole(self) -> bytes:
        """The payload of the jobs that take the event itself."""
        return canonical(self.document)


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    id: UUID
    event_type: str
    accepts: Filter | None
    template: Template
    job: JobTemplate
    source: bytes

    def fill(self, view: _View, budget: Budget) -> bytes | None:
        """Make the payload of its job; None where the filter does not take the event.

        Raises:
            InvalidError: filter or template cost too much, or the template met what it cannot take.
        """
        try:
            budget.pay(_RULE_STEPS)
            if self.accepts is not None and not self.accepts(view.payload, budget):
                return None
        except CostError as error:
            raise InvalidError.at("/filter", str(error)) from None
        if self.template.make is None:
            return view.whole
        return canonical(render(self.template, view.document, budget))

    def explain(self, error: InvalidError) -> bytes:
        """Make the payload of a job that says what went wrong."""
        said = Unfilled(template_error=str(error), subscription_id=self.id)
        return canonical(msgspec.to_builtins(said))

    def make(self, payload: bytes, *, max_attempts: int) -> NewJob:
        return NewJob(
            id=new_id(),
            type=self.job.type,
            payload=payload,
            queue=self.job.queue,
            priority=self.job.priority,
            max_attempts=self.job.max_attempts or max_attempts,
            delay_s=self.job.delay_s,
        )


def try_out(row: MatchingSubscription, event: NewEvent, *, max_attempts: int) -> NewJob | str:
    """Make the job that one subscription makes of an event, or say why it makes none."""
    rule = _make_rule(row)
    if not matches_type(rule.event_type, event.type):
        return f"the event's type {event.type!r} is not taken: {rule.event_type!r} is"
    made = Matcher(version=0, rules=[rule]).match(event, max_attempts=max_attempts)
    return made[0] if made else "the filter does not take the event's payload"


class Matchers:
    """Matchers of the tenants whose events came last, a bounded number of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[UUID, Matcher] = OrderedDict()
        self._size = 0

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
        kept = self._still(user_id, rows)
        if sum(len(row.source) for row in rows if row.id not in kept) <= _COMPILED_AT_ONCE:
            rules = self._compile(user_id, rows)
        else:
            rules = await aside(user_id, partial(self._compile, user_id, rows))
        matcher = Matcher(version=version, rules=rules)
        self._keep(user_id, matcher)
        return matcher

    def _still(self, user_id: UUID, rows: Sequence[MatchingSubscription]) -> dict[UUID, _Rule]:
        """Find the rules that say what their subscriptions say."""
        known = self._known.get(user_id)
        compiled = {rule.id: rule for rule in known.rules} if known else {}
        return {
            row.id: rule
            for row in rows
            if (rule := compiled.get(row.id))
            and (rule.event_type, rule.source) == (row.event_type, row.source)
        }

    def _compile(self, user_id: UUID, rows: Sequence[MatchingSubscription]) -> list[_Rule]:
        """Compile what is not compiled yet; what is refused is left out.

        An older build accepted it, and it must not keep the tenant's others from their events.
        """
        rules: list[_Rule] = []
        kept = self._still(user_id, rows)  # others may have been here while we waited
        for row in rows:
            try:
                rules.append(kept.get(row.id) or _make_rule(row))
            except InvalidError as error:
                _log.error("subscription_refused", subscription_id=row.id, error=str(error))
        return rules

    def _keep(self, user_id: UUID, matcher: Matcher) -> None:
        """Keep a matcher instead of those that were not asked for the longest."""
        before = self._known.pop(user_id, None)
        self._size += matcher.size - (before.size if before else 0)
        self._known[user_id] = matcher
        while len(self._known) > 1 and (
            len(self._known) > TENANTS_LIMIT or self._size > _KEPT_BYTES
        ):
            _, gone = self._known.popitem(last=False)
            self._size -= gone.size


def _make_rule(row: MatchingSubscription) -> _Rule:
    given = row.job.payload
    return _Rule(
        id=row.id,
        event_type=row.event_type,
        accepts=None if row.filter is None else compile_filter(row.filter),
        template=compile_template(None if given is msgspec.UNSET else given),
        job=row.job,
        source=row.source,
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
