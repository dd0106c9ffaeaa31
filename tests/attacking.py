"""Bad requests as data: one TOML file a subject, read into cases and written out as bytes.

In `send`, `body`, `header` and `raw`, `<<text x 9>>` stands for nine times the text, `<<hex 00ff>>`
for bytes, and `{name}` for what the test has made (`{job}`, `{cursor}` …); braces that name
nothing stay as they are. Everything else is UTF-8.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER: Final = Path(__file__).parent / "attacks" / "corpus"
_HEX: Final = re.compile(rb"<<hex ([0-9a-f ]+)>>")
_REPEAT: Final = re.compile(rb"<<(.*?) x ([0-9]+)>>", re.DOTALL)
_NAME: Final = re.compile(r"\{([a-z_]+)\}")


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bad request and what must be answered.

    `send` is method and target; with `raw` all bytes are given, and `send` only tells the route.
    `header` lines come after the usual ones; `key` names whose key is sent ("" sends none).
    `says` is a part of the answer's detail, `pointer` that of its first fault. A `bare` answer is
    the server's own, from before there was a request: without a problem. `ends` says that the
    connection is closed after it.
    """

    name: str
    send: str
    expect: int
    raw: str | None = None
    header: list[str] = []
    body: str | None = None
    media: str = "application/json"
    key: str = "tenant"
    says: str = ""
    pointer: str | None = None
    bare: bool = False
    ends: bool = False
    subject: str = ""

    def written(self, names: Mapping[str, str]) -> bytes:
        """Write the request as it goes over the wire."""
        if self.raw is not None:
            return _expand(self.raw, names)
        lines = [f"{self.send} HTTP/1.1", "Host: api.test"]
        if self.key:
            lines.append(f"Authorization: Bearer {{{self.key}_key}}")
        content = b"" if self.body is None else _expand(self.body, names)
        if self.body is not None:
            if self.media:
                lines.append(f"Content-Type: {self.media}")
            lines.append(f"Content-Length: {len(content)}")
        head = "\r\n".join([*lines, *self.header, "", ""])
        return _expand(head, names) + content


class _File(msgspec.Struct, forbid_unknown_fields=True):
    case: list[Case]


def load() -> list[Case]:
    """Read all cases, each with the name of its file as its subject."""
    return [
        msgspec.structs.replace(case, subject=file.stem)
        for file in sorted(_FOLDER.glob("*.toml"))
        for case in msgspec.toml.decode(file.read_bytes(), type=_File).case
    ]


def _expand(text: str, names: Mapping[str, str]) -> bytes:
    given = _NAME.sub(lambda match: names.get(match[1], match[0]), text).encode()
    repeated = _REPEAT.sub(lambda match: match[1] * int(match[2]), given)
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), repeated)
