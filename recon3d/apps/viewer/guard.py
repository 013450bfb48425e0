"""Who may talk to the viewer: this machine only, by the secret address, from the viewer's own page."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self' blob:; worker-src blob:; media-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_NAMES = ("127.0.0.1", "localhost")


class Guard:
    """ASGI middleware that answers only requests with the token in the path, our host name and no foreign origin.

    A page of another site can make the browser send requests to this server: it does not know the token, the browser
    names its origin, and a name that was made to point here (DNS rebinding) shows in the Host header.

    Args:
        app: the application behind it; it sees the path without the token.
        token: the secret first part of every path.
    """

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] != "http" or refusal:
            await _refuse(scope, send, refusal)
            return
        _, slash, rest = scope["path"].lstrip("/").partition("/")
        if not slash:  # the page's addresses are relative to the token's folder
            await _redirect(scope, send)
            return
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode("utf-8", "replace"), "root_path": ""}
        await self.app(inner, receive, _with_headers(send))

    def _refusal(self, scope: Message) -> str:
        """Return why a request is refused; empty = it is not."""
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", ())}
        port = (scope.get("server") or ("", 0))[1]
        hosts = {f"{name}:{port}" for name in _NAMES}
        if headers.get(b"host", "").lower() not in hosts:
            return "this server answers to 127.0.0.1 only"
        origin = headers.get(b"origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            return "requests of other pages are refused"
        first = scope["path"].lstrip("/").partition("/")[0]
        if not secrets.compare_digest(first.encode("utf-8", "replace"), self.token):
            return "the address lacks the token; take the one that recon3d view printed"
        return ""


async def _refuse(scope: Message, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _redirect(scope: Message, send: Send) -> None:
    await send({"type": "http.response.start", "status": 307, "headers": [(b"location", scope["raw_path"] + b"/")]})
    await send({"type": "http.response.body", "body": b""})


def _with_headers(send: Send) -> Send:
    extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return wrapped
