"""Phone numbers beyond their form: the optional library `phonenumbers` knows every country's."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


def check_number(number: str) -> None:
    """Raise ValueError for a country code that does not exist, or a length that its country lacks.

    Numbers that are only not handed out are let pass: they may be newer than the library's tables.
    Without the library (the extra `phonenumbers`) the form alone counts, which others check.
    """
    library = _library()
    if library is None:
        return
    try:
        parsed = library.parse(number, None)
    except library.NumberParseException:
        raise ValueError("no country has this code") from None
    if library.is_possible_number_with_reason(parsed) != library.ValidationResult.IS_POSSIBLE:
        raise ValueError("no number of that country has this length")


@cache
def _library() -> ModuleType | None:
    return import_module("phonenumbers") if find_spec("phonenumbers") else None
