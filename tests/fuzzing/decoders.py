"""Every decoder of what strangers send, with the inputs to try on it and what it may cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from hypothesis import strategies as st

from calls import Bounded
from fuzzing import trials
from fuzzing.inputs import (
    ATTRIBUTES,
    EVENTS,
    FILTERS,
    HEADERS,
    MATCHED,
    MEDIA,
    MODES,
    SOUND,
    TEMPLATES,
    TEXTS,
    TOKEN,
    VALUES,
    Strategy,
    asked,
    shaped,
    written,
)
from signalstack.api.app import OPERATIONS
from signalstack.api.examples import EXAMPLES

if TYPE_CHECKING:
    from uuid import UUID


# What a decoder may do: so many calls of functions, and some more for each byte. Templates have a
# budget of their own, of 200,000 steps that are several calls each.
_STEPS: Final = 5_000
_STEPS_A_BYTE: Final = 40
_STEPS_OF_TEMPLATES: Final = 5_000_000


class Decoder(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder by name, what to try on it, the trial, and the calls that any input may cost."""

    name: str
    inputs: Strategy
    trial: Callable[[Any], bool]
    steps: int = _STEPS

    def try_on(self, given: Any, *, counting: bool = True) -> bool:
        """Try one input, within bounds where calls are counted; True when it was taken."""
        taken = self.trial(given)  # also fills caches, of compiled patterns above all
        if not counting:
            return taken
        with Bounded(self.steps + _STEPS_A_BYTE * len(repr(given))):
            return self.trial(given)


_BODIES: Final = {
    operation.body: [example.value for example in EXAMPLES.get(operation.handler.__name__, ())]
    for operation in OPERATIONS
    if operation.body is not None and issubclass(operation.body, msgspec.Struct)
}
_QUERIES: Final = sorted(
    {operation.query for operation in OPERATIONS if operation.query is not None},
    key=lambda struct: struct.__name__,
)


def _mistyped(at: int, by: str) -> str:
    return TOKEN[:at] + by + TOKEN[at + 1 :]


_FIELD: Final = st.sampled_from(["*", "*", "1", "5", "*/2", "1-3"])
_CRON: Final = st.lists(_FIELD, min_size=5, max_size=5).map(" ".join)
_ZONES: Final[Strategy] = st.sampled_from(["UTC", "Europe/Berlin", "Africa/Casablanca"])


def _rung(payload: object, id_: UUID, number: float, count: int, text: str) -> str:
    """Ring as `signalstack.hand_over` does, or nearly."""
    run = [count, str(id_), str(id_), text, text, count, None, number, None, count > 0, payload]
    return json.dumps(run, default=str)


DECODERS: Final = (
    Decoder(name="JSON", inputs=written(VALUES), trial=trials.decode_document),
    *(
        Decoder(
            name=struct.__name__,
            inputs=written(shaped(struct, examples)),
            trial=trials.decode_struct(struct),
        )
        for struct, examples in _BODIES.items()
    ),
    *(
        Decoder(name=struct.__name__, inputs=asked(struct), trial=trials.read_query(struct))
        for struct in _QUERIES
    ),
    Decoder(
        name="CloudEvents",
        inputs=st.tuples(
            MODES,
            MEDIA | TEXTS,
            ATTRIBUTES,
            written(EVENTS | st.lists(EVENTS, max_size=3)),
        ),
        trial=trials.read_cloudevent,
    ),
    Decoder(name="patterns", inputs=st.tuples(FILTERS, MATCHED), trial=trials.match, steps=100_000),
    Decoder(
        name="templates",
        inputs=st.tuples(TEMPLATES, SOUND),
        trial=trials.fill_in,
        steps=_STEPS_OF_TEMPLATES,
    ),
    Decoder(name="cursors", inputs=TEXTS, trial=trials.unseal),
    Decoder(
        name="API keys",
        inputs=TEXTS | st.builds(_mistyped, st.integers(0, 80), TEXTS),
        trial=trials.read_key,
    ),
    Decoder(
        name="durations",
        inputs=TEXTS | st.from_regex(r"[0-9.]{1,20}(ms|s|m|h)"),
        trial=trials.read_duration,
    ),
    Decoder(
        name="cron and zones",
        inputs=st.tuples(
            _CRON | _CRON | st.just("@every 90s") | TEXTS,
            _ZONES | _ZONES | TEXTS,
        ),
        trial=trials.read_cadence,
        steps=2_000_000,
    ),
    Decoder(name="headers", inputs=HEADERS, trial=trials.read_headers),
    Decoder(name="targets", inputs=TEXTS | TEXTS.map(lambda x: "/" + x), trial=trials.read_target),
    Decoder(
        name="URLs",
        inputs=TEXTS
        | st.builds(
            "https://{}{}".format,
            st.sampled_from(["example.com", "a.b.c:8443", "[2606:4700::1111]", "1.1.1.1"]) | TEXTS,
            TEXTS | st.sampled_from(["", "/a", "/a?b=c"]),
        ),
        trial=trials.read_url,
    ),
    Decoder(name="addresses", inputs=TEXTS | st.ip_addresses().map(str), trial=trials.read_ip),
    Decoder(
        name="headers of endpoints",
        inputs=st.dictionaries(TEXTS, TEXTS, max_size=4),
        trial=trials.read_endpoint_headers,
    ),
    Decoder(
        name="webhook signatures",
        inputs=st.tuples(
            st.fixed_dictionaries(
                {},
                optional={
                    "webhook-id": TEXTS,
                    "webhook-timestamp": TEXTS | st.integers().map(str),
                    "webhook-signature": TEXTS,
                },
            ),
            st.binary(max_size=40),
        ),
        trial=trials.read_webhook,
    ),
    Decoder(
        name="bells",
        inputs=TEXTS
        | st.lists(st.integers() | st.uuids().map(str) | TEXTS | st.none(), max_size=12).map(
            json.dumps
        )
        | st.builds(_rung, VALUES, st.uuids(), st.floats(), st.integers(), TEXTS),
        trial=trials.read_bell,
    ),
    Decoder(
        name="mailboxes",
        inputs=TEXTS
        | st.builds("{}{}@example.com{}".format, TEXTS, st.sampled_from(["a", "<b"]), TEXTS),
        trial=trials.read_mailbox,
    ),
)
