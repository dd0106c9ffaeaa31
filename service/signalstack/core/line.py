"""A short text of one line, as names and references are."""

from __future__ import annotations

from typing import Annotated

import msgspec

# Ends by a look-ahead: `$` would let a line feed at the end through.
Line = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+(?![\s\S])",
        extra={"says": "must not contain line feeds or other control characters"},
    ),
]
