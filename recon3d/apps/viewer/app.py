"""The web application of the viewer. Import it only where the extra `viewer` is installed; see :mod:`.launch`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

from recon3d.apps.viewer.contents import Contents
from recon3d.apps.viewer.environments import environment_bytes
from recon3d.apps.viewer.guard import App, Guard
from recon3d.apps.viewer.pictures import thumbnail
from recon3d.apps.viewer.rescale import set_scale
from recon3d.core.errors import Recon3DError, UsageError

STATIC = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
_MAX_BODY = 1000


class Opened:
    """What is being shown; the scale of a reconstruction can change meanwhile.

    Args:
        contents: what was opened.
    """

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    def file(self, path: str) -> Path:
        """Return a file of the contents; every other path is answered with 404."""
        found = self.contents.resolve(path)
        if found is None:
            raise HTTPException(404, f"no file {path} here")
        return found


def create_app(contents: Contents, token: str) -> App:
    """Return the ASGI application, behind its guard.

    Args:
        contents: what it shows.
        token: the secret first part of every path.
    """
    app = FastAPI(title="recon3d view", docs_url=None, redoc_url=None, openapi_url=None)
    opened = Opened(contents)
    app.add_exception_handler(Recon3DError, _explain)
    _add_page(app)
    _add_files(app, opened)
    _add_scale(app, opened)
    return Guard(app, token)


def _explain(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 422)


def _add_page(app: FastAPI) -> None:
    @app.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        path = STATIC / name
        if path.parent != STATIC or path.suffix not in _TYPES or not path.is_file():
            raise HTTPException(404, f"no {name} here")
        return FileResponse(path, media_type=_TYPES[path.suffix])

    @app.get("/alive")
    def alive() -> dict[str, bool]:
        return {"alive": True}


def _add_files(app: FastAPI, opened: Opened) -> None:
    @app.get("/contents.json")
    def contents() -> dict[str, Any]:
        return opened.contents.document()

    @app.get("/files/{path:path}")
    def file(path: str) -> Response:
        # Starlette streams the file in pieces and answers Range requests.
        return FileResponse(opened.file(path), media_type="application/octet-stream")

    @cache
    def small(path: Path, size: int) -> bytes:
        return thumbnail(path, size)

    @app.get("/thumbnails/{path:path}")
    def picture(path: str) -> Response:
        return Response(small(opened.file(path), 192), media_type="image/jpeg")

    @app.get("/environments/{path:path}")
    def environment(path: str) -> Response:
        return Response(environment_bytes(opened.file(path)), media_type="application/octet-stream")


def _add_scale(app: FastAPI, opened: Opened) -> None:
    @app.post("/scale")
    async def scale(request: Request) -> Response:
        body = await request.body()
        if len(body) > _MAX_BODY:
            raise UsageError("the request is too long", got=f"{len(body)} bytes")
        factor = await _in_thread(opened, body)
        return JSONResponse({"factor": factor, "contents": opened.contents.document()})


async def _in_thread(opened: Opened, body: bytes) -> float:
    from fastapi.concurrency import run_in_threadpool

    opened.contents, factor = await run_in_threadpool(set_scale, opened.contents, body)
    return factor
