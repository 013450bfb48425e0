"""Starts the server of the viewer."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from typing import TYPE_CHECKING

from recon3d.apps.viewer.contents import Contents
from recon3d.core.errors import DependencyError, UsageError

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
INSTALL = "pip install 'recon3d[viewer]'"


def check_extra() -> None:
    """Raise where the extra is not installed.

    Raises:
        DependencyError: FastAPI or uvicorn is missing.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise DependencyError("the viewer's server is not installed", got=str(error), fix=INSTALL) from error


def make_server(contents: Contents, port: int = 0, token: str = "") -> tuple[uvicorn.Server, socket.socket, str]:
    """Return a server that is ready to run, the socket it listens on, and the address of the page.

    Args:
        contents: what it shows.
        port: on 127.0.0.1; 0 = any free one.
        token: the secret part of the address; empty = a random one.

    Raises:
        DependencyError: the extra `viewer` is not installed.
        UsageError: the port cannot be had.
    """
    check_extra()
    import uvicorn

    from recon3d.apps.viewer.app import create_app

    token = token or secrets.token_urlsafe(16)
    listener = _listen(port)
    app = create_app(contents, token)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="off")
    return uvicorn.Server(config), listener, f"http://{HOST}:{listener.getsockname()[1]}/{token}/"


def serve(contents: Contents, port: int, browser: bool, tell: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        contents: what is shown.
        port: on 127.0.0.1; 0 = any free one.
        browser: open the page in the browser.
        tell: is called with the address once the server listens.

    Raises:
        DependencyError: the extra `viewer` is not installed.
        UsageError: the port cannot be had.
    """
    server, listener, address = make_server(contents, port)
    try:
        tell(address)
        if browser:
            webbrowser.open(address)  # the socket listens already: a quick browser waits in its queue
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # the usual way to end it; uvicorn has closed its connections
    finally:
        listener.close()


def _listen(port: int) -> socket.socket:
    if not 0 <= port < 65536:
        raise UsageError("--port is out of range", got=port, expected="1..65535, or 0 for any free one")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        fix = "choose another --port, or none for any free one"
        raise UsageError(f"cannot listen on port {port}", got=error.strerror, fix=fix) from error
    return listener
