"""Which job types are taken, which are refused, and what the refusal says."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from contexts import RunContext
from signalstack.core.errors import SettingsError
from signalstack.core.handler import Context  # noqa: TC001 - a handler's annotation is read
from signalstack.handlers import own, registry
from signalstack.handlers.noop import NOOP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from signalstack.core.handler import Context as OnlyForCheckers


class Invoice(msgspec.Struct):
    number: int


class Opaque:
    pass


async def send(payload: Invoice, context: Context) -> int:
    return payload.number + context.attempt


def send_plainly(payload: Invoice, context: Context) -> int:
    return payload.number + context.attempt


def unannotated(payload: object, context: object) -> None:
    del payload, context


unannotated.__annotations__.clear()


def only_payload(payload: Invoice) -> None:
    del payload


def opaque(payload: Opaque, context: Context) -> None:
    del payload, context


def context_unknown(payload: Invoice, context: OnlyForCheckers) -> None:
    del payload, context


async def streams(payload: Invoice, context: Context) -> AsyncGenerator[int]:
    yield payload.number + context.attempt


class Sender:
    async def __call__(self, payload: Invoice, context: Context) -> int:
        return payload.number + context.attempt


def test_async_function_is_registered_with_its_annotated_payload() -> None:
    job_type = registry.build([], {"invoice.send": send})["invoice.send"]

    assert job_type.name == "invoice.send"
    assert job_type.payload is Invoice
    assert job_type.is_async


def test_plain_function_is_known_as_plain() -> None:
    assert not registry.build([], {"invoice.send": send_plainly})["invoice.send"].is_async


def test_pair_names_the_payload_of_an_unannotated_function() -> None:
    built = registry.build([], {"a": (Invoice, unannotated), "b": (dict[str, Any] | None, send)})

    assert built["a"].payload is Invoice
    assert built["b"].payload == dict[str, Any] | None


@pytest.mark.parametrize("run", [Sender(), Sender().__call__, functools.partial(send)])
def test_callables_around_an_async_function_are_async(run: object) -> None:
    job_type = registry.build([], {"a": run})["a"]

    assert job_type.payload is Invoice
    assert job_type.is_async


@pytest.mark.parametrize("name", ["a", "9", "invoice.send-it_now:v2", "x" * 100])
def test_good_names_are_taken(name: str) -> None:
    assert name in registry.build([], {name: send})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("Invoice", send, "all lower case"),
        ("", send, "begins with a letter or a digit"),
        (".send", send, "begins with a letter or a digit"),
        ("x" * 101, send, "up to 100"),
        ("naïve", send, "a-z"),
        ("send\n", send, "a-z"),
        (7, send, "the job type 7: a name has"),
        ("noop", send, "on board has that name"),
        ("a", Invoice, "is no function"),
        ("a", None, "None is no function"),
        ("a", (Invoice, "send"), "'send' is no function"),
        ("a", (Invoice,), "must be (Payload, function); this one has 1"),
        ("a", (Invoice, send, send), "this one has 3"),
        ("a", only_payload, "must take two arguments, (payload, context)"),
        ("a", streams, "the function yields"),
        ("a", unannotated, "'payload' needs the payload's type as annotation"),
        ("a", context_unknown, "not under TYPE_CHECKING"),
        ("a", opaque, "cannot be decoded from JSON"),
        ("a", (Opaque, send), "cannot be decoded from JSON"),
        ("a", (list[int] | tuple[int, ...], send), "cannot be decoded from JSON"),
    ],
)
def test_what_could_not_run_is_refused(name: str, value: object, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        registry.build([NOOP], {name: value})

    assert str(caught.value).startswith(f"SIGNALSTACK_HANDLERS: the job type {name!r}: ")
    assert says in str(caught.value)


async def test_noop_takes_an_object_or_null_and_returns_nothing() -> None:
    job_type = registry.build([NOOP], {})["noop"]

    for payload in (b"null", b"{}", b'{"a": [1]}'):
        decoded = msgspec.json.decode(payload, type=job_type.payload)
        result = job_type.run(decoded, RunContext())
        assert inspect.isawaitable(result)
        assert await result is None
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"[1]", type=job_type.payload)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder that is not on the Python path, and forget what it imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_mapping_is_loaded_from_the_working_directory(here: Path) -> None:
    (here / "shop").mkdir()
    (here / "shop" / "jobs.py").write_text("HANDLERS = {'invoice.send': len}\n")

    assert own.load("shop.jobs:HANDLERS") == {"invoice.send": len}


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("jobs", "it must look like package.module:HANDLERS"),
        ("jobs:", "it must look like package.module:HANDLERS"),
        ("jobs.py:HANDLERS:x", "it must look like package.module:HANDLERS"),
        ("absent.jobs:HANDLERS", "there is no module absent on the Python path or in "),
        ("jobs:handlers", "the module jobs has no handlers"),
        ("jobs:A_LIST", "A_LIST is a list; it must be a mapping"),
        ("broken:HANDLERS", "importing broken raised ZeroDivisionError: division by zero"),
        ("unclosed:HANDLERS", "importing unclosed raised SyntaxError"),
        ("needy:HANDLERS", "needy needs the module no_such_thing: it is missing"),
        ("script:HANDLERS", "importing script raised SystemExit: 0"),
    ],
)
def test_unusable_location_is_refused_with_its_reason(here: Path, location: str, says: str) -> None:
    (here / "jobs.py").write_text("A_LIST = []\n")
    (here / "broken.py").write_text("1 / 0\n")
    (here / "unclosed.py").write_text("(\n")
    (here / "needy.py").write_text("import no_such_thing\n")
    (here / "script.py").write_text("raise SystemExit(0)\n")

    with pytest.raises(SettingsError) as caught:
        own.load(location)

    assert str(caught.value).startswith(f"SIGNALSTACK_HANDLERS={location}: ")
    assert says in str(caught.value)


def test_payload_that_would_corrupt_the_process_is_refused() -> None:
    code = Annotated[str, msgspec.Meta(pattern="^a+$")]

    with pytest.raises(SettingsError, match=r"'a'.*has a string with a pattern in a union"):
        registry.build([], {"a": (code | list[str], send)})
