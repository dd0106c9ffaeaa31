"""Puts the job types on board and the user's own into one registry, refusing what could not run."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from typing import TYPE_CHECKING, Final, cast

import msgspec

from signalstack.core.errors import SettingsError
from signalstack.core.handler import Context, JobType, Registry, Run
from signalstack.core.unsafe_type import has_unsafe_union

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,99}")
_PAIR: Final = 2
_UNKNOWN: Final = inspect.Parameter.empty


def build(on_board: Iterable[JobType], own: Mapping[str, object]) -> Registry:
    """Make the registry of all job types, the ones on board and the user's own.

    A value of `own` is `function(payload: Payload, context: Context)`, async or plain, or the pair
    `(Payload, function)`. One that could not run raises SettingsError.
    """
    registry: Registry = {job_type.name: job_type for job_type in on_board}
    for name, value in own.items():
        _check_name(name)
        if name in registry:
            raise _wrong(name, "a job type on board has that name; choose another one")
        registry[name] = _job_type(name, value)
    return registry


def _job_type(name: str, value: object) -> JobType:
    payload, run = _UNKNOWN, value
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        if len(items) != _PAIR:
            raise _wrong(name, f"a tuple must be (Payload, function); this one has {len(items)}")
        payload, run = items
    run = _checked_function(name, run)
    payload = _annotated_payload(name, run) if payload is _UNKNOWN else payload
    _check_payload(name, payload)
    return JobType(name=name, payload=payload, run=run, is_async=_is_async(run))


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(
            name,
            "a name has up to 100 of a-z, 0-9, '_', '.', ':' and '-', all lower case, "
            "and begins with a letter or a digit, as in 'invoice.send'",
        )


def _checked_function(name: str, run: object) -> Run:
    if not callable(run) or isinstance(run, type):
        raise _wrong(name, f"{run!r} is no function; give function or (Payload, function)")
    if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        raise _wrong(name, "the function yields; it must return its result")
    try:
        inspect.signature(run).bind(object(), object())
    except (TypeError, ValueError) as error:  # ValueError: a builtin that tells no signature
        raise _wrong(
            name, f"the function must take two arguments, (payload, context): {error}"
        ) from error
    return cast("Run", run)


def _annotated_payload(name: str, run: Run) -> object:
    first = next(iter(inspect.signature(run).parameters))
    try:
        # Context is often imported for type checkers only; it is known here all the same.
        hints = typing.get_type_hints(
            _plain_function(run), localns={"Context": Context}, include_extras=True
        )
    except NameError as error:
        raise _wrong(
            name,
            f"its annotations cannot be read ({error}); "
            "import their types at module level and not under TYPE_CHECKING",
        ) from error
    if first not in hints:
        raise _wrong(
            name,
            f"its first parameter {first!r} needs the payload's type as annotation, "
            f"as in {first}: Invoice; or give the pair (Payload, function)",
        )
    return hints[first]


def _check_payload(name: str, payload: object) -> None:
    try:
        # First: such a type does its harm when a decoder is made for it.
        if has_unsafe_union(payload):
            raise _wrong(
                name,
                f"its payload {payload!r} has a string with a pattern in a union with a list, set "
                "or dict, which corrupts the memory of msgspec 0.22; check the pattern in "
                "__post_init__ instead",
            )
        # The decoder alone takes classes that it cannot fill; making the schema refuses those.
        msgspec.json.Decoder(payload)
        msgspec.json.schema(payload)
    except (TypeError, NameError) as error:
        raise _wrong(
            name,
            f"a payload of type {payload!r} cannot be decoded from JSON; use a msgspec.Struct "
            f"or another type that msgspec reads ({_first_line(error)})",
        ) from error


def _is_async(run: Run) -> bool:
    return inspect.iscoroutinefunction(_plain_function(run))


def _plain_function(run: Run) -> object:
    """Find the function behind a partial or a callable object, which has the annotations."""
    inner = run
    while isinstance(inner, functools.partial):
        inner = cast("functools.partial[object]", inner).func
    return inner if inspect.isroutine(inner) else type(inner).__call__


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(":")


def _wrong(name: object, why: str) -> SettingsError:
    return SettingsError(f"SIGNALSTACK_HANDLERS: the job type {name!r}: {why}")
