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

    def __init__(self, registry: CollectorRegistry, *, host: str, port: int) -> None:
        """Bind and begin to serve; port 0 takes any free one.

        Raises:
            SettingsError: METRICS_HOST or METRICS_PORT cannot be used.
        """
        self._server = _bind(host, port)
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


class _Server(ThreadingWSGIServer):
    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host, which may hang where there is no DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - theirs
        """Take it calmly when a scraper goes away."""
        _log.debug("metrics.scrape_aborted", client=str(client_address))


class _Server6(_Server):
    address_family = socket.AF_INET6


def _bind(host: str, port: int) -> _Server:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        server = _Server6 if family == socket.AF_INET6 else _Server
        return server((host, port), _Handler)
    except socket.gaierror as error:
        raise SettingsError(
            f"METRICS_HOST={host}: no such host; use 127.0.0.1, 0.0.0.0 or a name of this machine"
        ) from error
    except OSError as error:
        raise SettingsError(_complaint(error, host, port)) from error


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
