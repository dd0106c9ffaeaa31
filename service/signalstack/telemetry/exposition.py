"""The HTTP server of `/metrics`: its own port and threads, so that a scrape holds up no work."""

from __future__ import annotations

import errno
import socket
import threading
from socketserver import TCPServer
from typing import TYPE_CHECKING, Final, cast
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import make_wsgi_app  # pyright: ignore[reportUnknownVariableType] - untyped
from prometheus_client.exposition import ThreadingWSGIServer

from signalstack.core.errors import SettingsError
from signalstack.core.log import get_logger

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from prometheus_client import CollectorRegistry

STALLED_S: Final = 10.0

_log = get_logger("signalstack.metrics")


class Exposition:
    """Serves a registry until it is closed."""

    def __init__(self, registry: CollectorRegistry, at: Bound) -> None:
        """Begin to serve.

        Raises:
            SettingsError: another process came to listen there since the address was bound.
        """
        self._server = at
        try:
            self._server.server_activate()
        except OSError as error:
            host, port = at.server_address[:2]
            raise SettingsError(_complaint(error, str(host), int(port))) from error
        self._server.set_app(cast("WSGIApplication", make_wsgi_app(registry)))
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="metrics",
            daemon=True,
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    def close(self) -> None:
        """Stop listening; blocks for up to a tenth of a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = STALLED_S  # a scraper that stalls must not keep its thread

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it overrides
        """Log no scrapes."""


class Bound(ThreadingWSGIServer):
    """An address that is taken; nobody can connect before an `Exposition` serves at it."""

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host, which may hang where there is no DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - theirs
        """Take it calmly when a scraper goes away."""
        _log.debug("metrics.scrape_aborted", client=str(client_address))


class _Bound6(Bound):
    address_family = socket.AF_INET6


def bind(host: str, port: int) -> Bound:
    """Take the address of `/metrics`; port 0 takes any free one.

    Raises:
        SettingsError: METRICS_HOST or METRICS_PORT cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        kind = _Bound6 if family == socket.AF_INET6 else Bound
        bound = kind((host, port), _Handler, bind_and_activate=False)
        try:
            bound.server_bind()
        except BaseException:
            bound.server_close()
            raise
    except (socket.gaierror, UnicodeError) as error:  # the latter for what no name can look like
        raise SettingsError(
            f"METRICS_HOST={host}: no such host; use 127.0.0.1, 0.0.0.0 or a name of this machine"
        ) from error
    except OSError as error:
        raise SettingsError(_complaint(error, host, port)) from error
    return bound


def _complaint(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"METRICS_PORT={port}: something listens on {host}:{port} already; choose another,"
                " or 0 for any free one"
            )
        case errno.EACCES:
            return f"METRICS_PORT={port}: not allowed to listen there; use a port from 1024 up"
        case errno.EADDRNOTAVAIL:
            return f"METRICS_HOST={host}: not an address of this machine; use 127.0.0.1 or 0.0.0.0"
        case _:
            return f"METRICS_HOST={host}, METRICS_PORT={port}: {error.strerror}"
