"""Owns where the SQL files are: inside the wheel, or at the root of a source checkout."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from signalstack.core.errors import SchemaError

if TYPE_CHECKING:
    from pathlib import Path


def sql_root() -> Path:
    """Find the folder that holds `migrations` and `queries`."""
    with as_file(files("signalstack")) as package:
        # Installed as a wheel, then as an editable checkout (service/signalstack beside sql).
        candidates = (package / "sql", package.parent.parent / "sql")
    for candidate in candidates:
        if (candidate / "migrations").is_dir():
            return candidate
    raise SchemaError(
        f"The SQL files of SignalStack are missing: looked in {candidates[0]} and {candidates[1]}. "
        "Install the package again."
    )


def is_checkout() -> bool:
    """Tell whether the SQL files belong to a source checkout, where new ones may be made."""
    return (sql_root().parent / "pyproject.toml").is_file()
