"""Payload templates: the JSON that an event is turned into for a job.

A template is any JSON. An object with the single key `$` stands for what its JMESPath expression
finds in the event, which has `id`, `type`, `source`, `subject`, `external_id`, `occurred_at` and
`payload`; what is missing is null. To write such an object literally, add a `$`: an object with the
single key `$$` (or more) becomes the same object with one `$` less. No template at all means the
event itself.

JMESPath can double a value with every step (`[@, @] | [@, @] | …`), so a rendering pays for every
node visited and for the size of every value made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from signalstack.core.budget import Budget, CostError
from signalstack.core.document import Json, canonical, check, pointer_to, restore
from signalstack.core.errors import InvalidError
from signalstack.core.expression import ExpressionError, Parsed, Run, parse

MAX_TEMPLATE_BYTES: Final = 65_536
MAX_OUTPUT_BYTES: Final = 262_144

_MARK: Final = "$"
_ESCAPED: Final = re.compile(r"\${2,}")

_Make: TypeAlias = Callable[[Run], Json]
_Reads: TypeAlias = list[tuple[str, Parsed]]


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template that was checked; `make` is None for the event itself.

    `steps` is what its own values cost each time, whatever they are filled with; `reads` are its
    expressions, each with where it stands.
    """

    make: _Make | None
    pointer: str
    steps: int = 0
    reads: Sequence[tuple[str, Parsed]] = ()


def compile_template(template: Json, pointer: str = "/job/payload") -> Template:
    """Check a template and prepare it for rendering.

    Args:
        template: a document that `document.decode` let in, or that the database gave back; None
            for the event itself.
        pointer: where the template stands in the body.

    Raises:
        InvalidError: too large, or an expression is malformed; points into the template.
    """
    if template is None:
        return Template(make=None, pointer=pointer)
    template = restore(template)
    if len(canonical(template)) > MAX_TEMPLATE_BYTES:
        raise InvalidError.at(pointer, f"must not exceed {MAX_TEMPLATE_BYTES} bytes")
    reads: _Reads = []
    make = _node(template, pointer, reads)
    return Template(make=make, pointer=pointer, steps=_steps(template), reads=tuple(reads))


def render(template: Template, event: Json, budget: Budget) -> Json:
    """Make a job's payload from an event, told as one JSON object.

    Raises:
        InvalidError: an expression met what it cannot take, the outcome cannot be stored, or the
            budget does not last.
    """
    if template.make is None:
        return event
    try:
        budget.pay(template.steps)
        outcome = template.make(Run(event, budget))
    except CostError as error:
        raise InvalidError.at(template.pointer, str(error)) from None
    check(outcome, template.pointer)
    if len(canonical(outcome)) > MAX_OUTPUT_BYTES:
        raise InvalidError.at(template.pointer, f"rendered, it exceeds {MAX_OUTPUT_BYTES} bytes")
    return outcome


def _steps(template: Json) -> int:
    uncounted = Budget(MAX_TEMPLATE_BYTES)
    uncounted.pay_for(template)
    return MAX_TEMPLATE_BYTES - uncounted.left


def _node(template: Json, pointer: str, reads: _Reads) -> _Make:
    if isinstance(template, dict):
        if template.keys() == {_MARK}:
            return _expression(template[_MARK], f"{pointer}/{_MARK}", reads)
        return _object(template, pointer, reads)
    if isinstance(template, list):
        items = [_node(item, f"{pointer}/{index}", reads) for index, item in enumerate(template)]
        return lambda run: [item(run) for item in items]
    return lambda _: template


def _object(template: dict[str, Json], pointer: str, reads: _Reads) -> _Make:
    alone = len(template) == 1
    members = {
        key[1:] if alone and _ESCAPED.fullmatch(key) else key: _node(
            item, pointer + pointer_to(key), reads
        )
        for key, item in template.items()
    }
    return lambda run: {key: item(run) for key, item in members.items()}


def _expression(text: Json, pointer: str, reads: _Reads) -> _Make:
    if not isinstance(text, str):
        raise InvalidError.at(pointer, "must be a JMESPath expression as a string")
    try:
        parsed = parse(text)
    except ExpressionError as error:
        raise InvalidError.at(pointer, str(error)) from None
    reads.append((pointer, parsed))

    def make(run: Run) -> Json:
        try:
            return run.evaluate(parsed)
        except (ExpressionError, CostError) as error:
            raise InvalidError.at(pointer, str(error)) from None

    return make
