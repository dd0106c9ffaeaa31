"""Where a process serves its metrics."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_ADDRESS: Final = re.compile(
    r"(?:http://)?(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})(?:/metrics)?/?"
)
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is compared
_PORTS: Final = 65_535


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A host, a name or an address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `host:port`, or the same as a URL.

        Raises:
            ValueError: it is neither.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or not 0 < int(match["port"]) <= _PORTS:
            raise ValueError("must be like 127.0.0.1:9464, [::1]:9464 or worker-1:9464")
        return cls(host=match["host"].strip("[]"), port=int(match["port"]))

    @classmethod
    def local(cls, host: str, port: int) -> Target:
        """Name what listens on this address here; one that means all becomes the loopback."""
        return cls(host=_EVERYWHERE.get(host.strip("[]"), host.strip("[]")), port=port)

    def __str__(self) -> str:
        """Write it as it is given."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where its metrics are."""
        return f"http://{self}/metrics"
