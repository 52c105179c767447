"""The server's process: the interface by uvicorn, and the workers beside it."""

from __future__ import annotations

import logging
import socket as sockets

from aihwjax.errors import ConfigError, MissingExtraError
from aihwjax.server.settings import ServerSettings
from aihwjax.server.workers.supervisor import Supervisor

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 30
_SHUTDOWN_SECONDS = 5  # streams never end by themselves


def listen(host: str, port: int) -> sockets.socket:
    """Return a socket that listens, so that the port is known, or found to be taken, at once.

    Args:
        host: Address.
        port: Port; 0 for any that is free.

    Raises:
        ConfigError: If it cannot.
    """
    try:
        family = sockets.getaddrinfo(host, port, type=sockets.SOCK_STREAM)[0][0]
        return sockets.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen on {host}, port {port}: {reason}") from None


def run(settings: ServerSettings, socket: sockets.socket) -> None:
    """Serve until SIGTERM or SIGINT comes; then workers give their jobs back.

    Args:
        settings: What the operator has set.
        socket: From :func:`listen`.

    Raises:
        MissingExtraError: If the extra ``composer`` is not installed.
    """
    try:
        import uvicorn

        from aihwjax.server.faces.app import create_app
    except ModuleNotFoundError as error:
        if str(error.name).startswith("aihwjax"):
            raise
        raise MissingExtraError(f"the composer needs {error.name!r}: pip install 'aihwjax[composer]'") from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s server %(process)d: %(message)s")
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        log_level="warning",
        access_log=False,  # the application has its own, without queries
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    with Supervisor(settings):
        uvicorn.Server(config).run(sockets=[socket])
