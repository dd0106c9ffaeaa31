"""Why something failed, in a text that PostgreSQL can keep."""

from __future__ import annotations

from typing import Final

ERROR_LIMIT: Final = 2_000


def clip(text: str) -> str:
    """Make a text that PostgreSQL can keep: no NUL, no lone surrogate, bounded."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return clean if len(clean) <= ERROR_LIMIT else clean[: ERROR_LIMIT - 1] + "…"


def text_of(value: object) -> str:
    """Read what a user's exception says of itself, which may fail in turn."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "(its text cannot be read)"


def describe(error: BaseException) -> str:
    """Name an exception and what it says."""
    return f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
