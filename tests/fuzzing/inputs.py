"""What strangers may send: texts, JSON, objects with our fields, patterns, templates, headers."""

from __future__ import annotations

import base64
import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from hypothesis import strategies as st

from signalstack.api import headers
from signalstack.core import cloudevent
from signalstack.core.document import MAX_INTEGER, MIN_INTEGER
from signalstack.core.key import new_key

if TYPE_CHECKING:
    from collections.abc import Sequence

Strategy: TypeAlias = "st.SearchStrategy[Any]"

TOKEN: Final = new_key("test").token
_PIECES: Final = (
    *" \t\n\r\0,;:=\"'\\/%+-_.@*$&#?!()[]{}|~^`<>0123456789aZé\uff11\x7f\x85\ud800",
    *("1e308", "-0", "null", "true", "wait=", "\\u0000", "\\ud800", "%00", "%ff", "%2e", "::1"),
    *("@every ", "charset=", "ss_test_", "v1,", "https://", "127.0.0.1", "order.paid", "payload"),
)


def _bomb(head: str, piece: str, count: int, tail: str) -> str:
    return head + piece * count + tail


# One piece many times over is what makes a pattern with two ways to read it go astray.
BOMBS: Final[Strategy] = st.builds(
    _bomb,
    st.sampled_from(_PIECES) | st.text(max_size=5),
    st.sampled_from(_PIECES),
    st.integers(1, 3_000),
    st.sampled_from(_PIECES) | st.text(max_size=5),
)
TEXTS: Final[Strategy] = (
    st.lists(st.sampled_from(_PIECES), max_size=20).map("".join) | st.text(max_size=40) | BOMBS
)
_PLAIN: Final[Strategy] = st.sampled_from(
    [
        "1",
        "50",
        "2026-01-01",
        "2026-01-02",
        "2026-01-02T00:00:00Z",
        "noop",
        "succeeded",
        "hour",
        "5m",
        "a.b",
        "*",
    ]
)
_SCALARS: Final[Strategy] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 2**63 - 1, 0, 1, -1, 10**30])
    | st.floats()
    | TEXTS
    | st.sampled_from(["noop", "2026-01-01T00:00:00Z", "+905551111111", "@daily", "UTC", "skip"])
)


def _below(inner: Strategy) -> Strategy:
    return st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)


VALUES: Final[Strategy] = st.recursive(_SCALARS, _below, max_leaves=12)


def mended(value: Any) -> Any:
    """Change what `document.decode` would refuse, for those who only see what it let in."""
    match value:
        case str():
            return value.replace("\0", "").encode(errors="replace").decode()
        case int() if not isinstance(value, bool):
            return max(MIN_INTEGER, min(value, MAX_INTEGER))
        case float():
            return value if isfinite(value) else 0.0
        case list():
            return [mended(item) for item in cast("list[Any]", value)]
        case dict():
            members = cast("dict[str, Any]", value)
            return {mended(key): mended(item) for key, item in members.items()}
        case _:
            return value


SOUND: Final[Strategy] = VALUES.map(mended)


def _write(value: object, ascii_only: bool) -> bytes:  # noqa: FBT001 - drawn, not called by hand
    return json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")


def _cut(data: bytes, at: int) -> bytes:
    return data[: at % (len(data) + 1)]


def _changed(example: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    return {**example, **changed}


def written(values: Strategy) -> Strategy:
    """Write values as JSON, or nearly: with NaN, lone surrogates, a repeated key, or cut short."""
    whole = st.builds(_write, values, st.booleans())
    doubled = whole.map(lambda data: data.replace(b"{", b'{"type":1,', 1))
    cut = st.builds(_cut, whole, st.integers(0, 200))
    return whole | whole | doubled | cut | st.binary(max_size=60)


def shaped(struct: type[msgspec.Struct], examples: Sequence[Any]) -> Strategy:
    """Make objects with some of a struct's fields and values of any kind, most from an example."""
    names = [field.encode_name for field in msgspec.structs.fields(struct)]
    some = st.dictionaries(st.sampled_from([*names, "x"]), _PLAIN | VALUES, max_size=2)
    return st.builds(_changed, st.sampled_from([*examples, *examples, {}]), some)


def asked(struct: type[msgspec.Struct]) -> Strategy:
    """Make query strings of a struct's parameters, with plausible values or with any."""
    names = [field.encode_name for field in msgspec.structs.fields(struct)]
    pair = st.builds("{}={}".format, st.sampled_from([*names, "x"]), _PLAIN | TEXTS)
    whole = st.permutations(names).flatmap(
        lambda order: st.tuples(*(st.builds(f"{name}={{}}".format, _PLAIN) for name in order))
    )
    return (st.lists(pair, max_size=3) | whole).map("&".join)


_OPERATORS: Final[Strategy] = st.sampled_from(
    ["prefix", "suffix", "numeric", "exists", "anything-but", "wildcard", "equals-ignore-case", "x"]
)
_ARGUMENTS: Final[Strategy] = VALUES | st.sampled_from(
    [[">", 0], [">=", 1, "<", 5], True, False, "a*b"]
)
_CONDITION: Final[Strategy] = st.one_of(
    st.sampled_from(["a", 1, None, True, "noop"]).map(lambda value: [value]),
    st.sampled_from(
        [{"prefix": "a"}, {"numeric": [">", 0]}, {"exists": False}, {"wildcard": "a*b*"}]
    ).map(lambda value: [value]),
    st.lists(
        _SCALARS | st.dictionaries(_OPERATORS, _ARGUMENTS, min_size=1, max_size=1), max_size=3
    ),
)
_NAMES: Final[Strategy] = st.sampled_from(["a", "b", "c.d"])
FILTERS: Final[Strategy] = st.recursive(
    st.dictionaries(_NAMES, _CONDITION, min_size=1, max_size=3),
    lambda inner: (
        st.dictionaries(_NAMES, inner, min_size=1, max_size=3)
        | st.lists(inner, max_size=3).map(lambda some: {"$or": some})
    ),
    max_leaves=6,
).map(mended)
# Payloads that such filters look into.
MATCHED: Final[Strategy] = st.dictionaries(_NAMES, VALUES, max_size=3).map(mended) | SOUND
_STEPS_OF_PATHS: Final[Strategy] = st.sampled_from(
    [
        *("payload", "type", "[*]", "[]", ".*", "[?a]", "[?@==@]", "[@,@]", "[@,@]|[@,@]", "[::0]"),
        *(
            "length(@)",
            "join(',',@)",
            "sort(@)",
            "map(&@,@)",
            "{a:@,b:@}",
            "[0:9:2]",
            "not_null(@)",
        ),
        *("`1e999`", "`[1,2]`", "'x'", "||", "&&", "!", ".", "|", "(", ")", "@", "to_string(@)"),
    ]
)
_PATHS: Final[Strategy] = st.lists(_STEPS_OF_PATHS, max_size=30).map("".join) | TEXTS
TEMPLATES: Final[Strategy] = st.recursive(
    _SCALARS | _PATHS.map(lambda path: {"$": path}) | st.just({"$$": 1}), _below, max_leaves=6
).map(mended)


MODES: Final[Strategy] = st.sampled_from(list(cloudevent.Mode))
MEDIA: Final[Strategy] = st.sampled_from(
    ["application/json", "text/plain", "a/b; charset=latin-1", "application/cloudevents+json"]
)
_ATTRIBUTE: Final[Strategy] = (
    st.sampled_from(["1", "a/b", "order.paid", "2026-01-01T00:00:00Z"]) | TEXTS
)
_REQUIRED: Final[dict[str, Strategy]] = {
    "specversion": st.just("1.0"),
    "id": _ATTRIBUTE,
    "source": _ATTRIBUTE,
    "type": _ATTRIBUTE,
}
ATTRIBUTES: Final[Strategy] = st.fixed_dictionaries(
    {f"ce-{name}": values for name, values in _REQUIRED.items()},
    optional={f"ce-{name}": _ATTRIBUTE for name in ("subject", "time", "data", "ext")},
)
EVENTS: Final[Strategy] = st.fixed_dictionaries(
    _REQUIRED,
    optional={
        **dict.fromkeys(("subject", "time", "dataschema", "ext"), _ATTRIBUTE),
        "datacontenttype": MEDIA | TEXTS,
        "data": VALUES,
        "data_base64": TEXTS | st.binary(max_size=20).map(lambda x: base64.b64encode(x).decode()),
    },
)
HEADERS: Final[Strategy] = st.fixed_dictionaries(
    {"authorization": st.just(f"Bearer {TOKEN}") | TEXTS},
    optional={
        "content-type": MEDIA | TEXTS,
        "content-length": st.just("5") | TEXTS,
        "prefer": st.just("wait=5") | TEXTS,
        **dict.fromkeys(("host", "idempotency-key", "x-request-id", "x-a"), _PLAIN | TEXTS),
        **dict.fromkeys((*headers.ONCE[-2:], "content-encoding", "traceparent"), TEXTS),
    },
)
