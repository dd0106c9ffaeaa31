"""Finds the user's own handlers: the mapping that SIGNALSTACK_HANDLERS names."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from signalstack.core.errors import SettingsError

if TYPE_CHECKING:
    from types import ModuleType

_FORM: Final = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<attribute>[^\W\d]\w*)")


def load(location: str) -> Mapping[str, object]:
    """Import the mapping at `package.module:NAME`, also from the current working directory.

    Anything wrong with it raises SettingsError.
    """
    form = _FORM.fullmatch(location)
    if form is None:
        raise _wrong(location, "it must look like package.module:HANDLERS")
    module, attribute = form["module"], form["attribute"]
    found: object = getattr(_import(location, module), attribute, None)
    if found is None:
        raise _wrong(location, f"the module {module} has no {attribute}")
    if not isinstance(found, Mapping):
        raise _wrong(
            location,
            f"{attribute} is a {type(found).__name__}; "
            "it must be a mapping of job type names to functions",
        )
    return cast("Mapping[str, object]", found)


def _import(location: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        # A console script starts without it, and the user's code lies where they stand.
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise _wrong(
                location, f"there is no module {missing} on the Python path or in {here}"
            ) from error
        raise _wrong(location, f"{module} needs the module {missing}: it is missing") from error
    except (Exception, SystemExit) as error:  # a script that runs when it is imported may exit
        raise _wrong(
            location, f"importing {module} raised {type(error).__name__}: {error}"
        ) from error


def _wrong(location: str, why: str) -> SettingsError:
    return SettingsError(f"SIGNALSTACK_HANDLERS={location}: {why}")
