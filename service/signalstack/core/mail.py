"""Where mail is handed in and whom it may name: SMTP URLs and e-mail addresses, in one reading."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

MAX_ADDRESS: Final = 320
ADDRESS_RULE: Final = "must be like ada@example.com or Ada Lovelace <ada@example.com>"

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 5321 without quoted local parts and address literals, which nobody is reached by.
_SPEC: Final = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
_NAME: Final = r"[^<>\"\x00-\x1f\x7f]*"
# Ends by a look-ahead: `$` also matches before a line feed, in Python but not in JSON Schema.
ADDRESS: Final = rf"^(?:{_SPEC}|(?:{_NAME}|\"{_NAME}\") ?<{_SPEC}>)(?![\s\S])"
_ADDRESS: Final = re.compile(
    rf"(?:\"?(?P<name>{_NAME})\"? ?<(?P<named>{_SPEC})>|(?P<spec>{_SPEC}))"
)
_MAX_LOCAL: Final = 64
_MAX_DOMAIN: Final = 253


class Tls(StrEnum):
    """How a connection to the mail server becomes private."""

    IMPLICIT = "implicit"  # from the first byte (smtps)
    REQUIRED = "required"  # by STARTTLS, or not at all
    OFFERED = "offered"  # by STARTTLS where the server has it
    NEVER = "never"


_PORTS: Final = {Tls.IMPLICIT: 465, Tls.REQUIRED: 587, Tls.OFFERED: 25, Tls.NEVER: 25}
_STARTTLS: Final = {"required": Tls.REQUIRED, "offered": Tls.OFFERED, "never": Tls.NEVER}


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that takes mail, and who we are to it."""

    host: str
    port: int
    tls: Tls
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Leave the credentials out: this may reach a log."""
        return f"MailServer(host={self.host!r}, port={self.port!r}, tls={self.tls.value!r})"


class Mailbox(NamedTuple):
    """Somebody's address, and how they are called, if that was said."""

    name: str
    spec: str

    @property
    def domain(self) -> str:
        """What stands behind the @."""
        return self.spec.rpartition("@")[2]


def read_mailbox(text: str) -> Mailbox:
    """Read `ada@example.com` or `Ada Lovelace <ada@example.com>`; anything else is a ValueError."""
    match = _ADDRESS.fullmatch(text) if len(text) <= MAX_ADDRESS else None
    if match is None:
        raise ValueError(ADDRESS_RULE)
    if "=?" in text:
        # Decoded by whatever writes or reads the header: it would name somebody else (RFC 2047).
        raise ValueError("must not hold an encoded word (=?): write the name itself")
    spec: str = match["spec"] or match["named"]
    local, _, domain = spec.rpartition("@")
    if len(local) > _MAX_LOCAL or len(domain) > _MAX_DOMAIN:
        raise ValueError("is too long before or after the @")
    return Mailbox((match["name"] or "").strip(), spec)


def read_server(text: str) -> MailServer:
    """Read an SMTP URL; ValueError, which never quotes it, says what would be right.

    A password goes over the wire encrypted, unless `?starttls=never` says that it need not.
    """
    right = (
        "must be like smtp://user:password@host:587, smtps://host or "
        "smtp+starttls://host (special characters percent-encoded)"
    )
    try:
        url = urlsplit(text)
        port, options = url.port, parse_qsl(url.query, strict_parsing=bool(url.query))
    except ValueError:
        raise ValueError(right) from None
    wanted = dict(options)
    starttls = _STARTTLS.get(wanted.pop("starttls", "offered"))
    if not url.hostname or url.path not in ("", "/") or url.fragment or wanted or starttls is None:
        raise ValueError(f"{right}; after ? only starttls=required, offered or never")
    match url.scheme:
        case "smtps":
            tls = Tls.IMPLICIT
        case "smtp+starttls":
            tls = Tls.REQUIRED
        case "smtp":
            tls = Tls.REQUIRED if url.password and starttls is Tls.OFFERED else starttls
        case _:
            raise ValueError(right)
    return MailServer(
        host=url.hostname,
        port=_PORTS[tls] if port is None else port,
        tls=tls,
        user=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
    )
