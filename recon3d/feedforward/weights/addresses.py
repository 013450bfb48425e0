"""Opening addresses with urllib: https only, also behind redirects, and what goes wrong told in the user's words."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import IO
from urllib.parse import urlsplit

from recon3d import __version__
from recon3d.core.errors import DependencyError, UsageError

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_CLOSED = (401, 403)
OTHER_SOURCE = "recon3d weights fetch NAME --from ADDRESS-OR-FILE takes them from somewhere else"


class TransferStopped(Exception):
    """A download stopped for a reason that may pass; the next attempt goes on where it stopped."""


class RangeRefused(TransferStopped):
    """The server has no such part of the file: it is another file now."""


def open_address(url: str, headers: Mapping[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """Return the answer of an address.

    Args:
        url: https; http only for this machine.
        headers: of the request.
        timeout_s: longest silence of the server, in seconds.

    Raises:
        UsageError: the address is neither.
        TransferStopped: for now there is no answer.
        DependencyError: there will be none.
    """
    check_address(url)
    request = urllib.request.Request(
        url, headers={"User-Agent": f"recon3d/{__version__}", "Accept-Encoding": "identity", **headers}
    )
    try:
        response: http.client.HTTPResponse = _opener().open(request, timeout=timeout_s)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        raise _refusal(error, url) from error
    except urllib.error.URLError as error:
        raise _failure(error.reason, url) from error
    except (OSError, http.client.HTTPException) as error:
        raise _failure(error, url) from error


def check_address(url: str) -> None:
    """Refuse addresses that anybody on the way could change.

    Raises:
        UsageError: it is no https address, and no http address of this machine.
    """
    parts = urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _THIS_MACHINE
    if not (local or parts.scheme == "https") or not parts.hostname:
        raise UsageError("weights come over https only", got=url, expected="https://...", fix="use an https address")


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone: no files, no ftp, no data addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            check_address(newurl)
        except UsageError as error:
            raise DependencyError(f"{req.full_url} leads to an unsafe address", got=newurl, fix=OTHER_SOURCE) from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refusal(error: urllib.error.HTTPError, url: str) -> Exception:
    """Return what an HTTP status means."""
    got = f"HTTP {error.code} {error.reason}"
    if error.code in _BUSY:
        return TransferStopped(f"the server answered {got}")
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return RangeRefused("the server has another file now")
    if error.code in _GONE:
        return DependencyError(f"{url} is not there", got=got, fix=OTHER_SOURCE)
    if error.code in _CLOSED:
        fix = "ask for access on its page and download the file there, then recon3d weights fetch NAME --from FILE"
        return DependencyError(f"{url} is not given to everybody", got=got, fix=fix)
    return DependencyError(f"{url} cannot be fetched", got=got, fix=OTHER_SOURCE)


def _failure(reason: object, url: str) -> Exception:
    """Return what an error of the network means."""
    host = urlsplit(url).hostname
    if isinstance(reason, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError):
        fix = f"check the connection to the internet; {OTHER_SOURCE}"
        return DependencyError(f"{host} cannot be reached", got=str(reason), fix=fix)
    if isinstance(reason, TimeoutError):
        return TransferStopped("the server fell silent")
    return TransferStopped(f"the connection broke ({str(reason) or type(reason).__name__})")
