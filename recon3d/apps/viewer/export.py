"""One self-contained HTML file: the page, its modules, and the data, inlined."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

from recon3d.apps.viewer.contents import Contents, read_item
from recon3d.apps.viewer.environments import environment_bytes
from recon3d.apps.viewer.pictures import thumbnail
from recon3d.core.errors import FormatError
from recon3d.core.files import atomic_path

STATIC = Path(__file__).with_name("static")
MAX_FILE_BYTES = 300 << 20  # browsers keep a page as one string of at most half a gigabyte
_THUMBNAIL = 192
_IMPORT = re.compile(r'(from\s+|import\s+)"\./([a-z0-9_]+\.js)"')
_LINKS = re.compile(r'\s*<link rel="(?:stylesheet|modulepreload)"[^>]*>')


def export_page(contents: Contents, target: Path) -> int:
    """Write everything that the page needs into one HTML file, atomically.

    The modules become entries of an import map with data addresses; files become base64 texts that the page's loader
    finds by their path. Of the splats, meshes and points, the first file of each role goes in; photos as thumbnails.

    Args:
        contents: what is shown.
        target: the .html file.

    Returns:
        Its size in bytes.

    Raises:
        FormatError: a file is damaged or too large for one page.
        ResourceError: the disk is full.
    """
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    head, body = page.split("<!-- modules -->")
    chosen = _chosen(contents)
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_LINKS.sub("", head).replace("</head>", "") + f"<style>\n{style}\n</style>\n")
        file.write(f'<script type="importmap">{json.dumps({"imports": _modules()})}</script>\n')
        file.write(f'<script type="application/json" id="recon3d-contents">{_document(contents, chosen)}</script>\n')
        for path, data in _data(contents, chosen):
            text = base64.b64encode(data).decode("ascii")
            file.write(f'<script type="text/plain" class="recon3d-file" data-path="{_quoted(path)}">{text}</script>\n')
        file.write('<script type="module">import "recon3d/main.js";</script>\n')
        file.write(body.partition("<!-- end of modules -->")[2])
    return target.stat().st_size


def _chosen(contents: Contents) -> list[str]:
    """Return the first file of each role, and all environments."""
    seen: set[str] = set()
    chosen = []
    for item in contents.items:
        if item.role == "environment" or item.role not in seen:
            chosen.append(item.path)
        seen.add(item.role)
    return chosen


def _document(contents: Contents, chosen: list[str]) -> str:
    document = contents.document() | {"canSetScale": False}
    document["items"] = [item for item in document["items"] if item["path"] in chosen]
    return json.dumps(document).replace("<", "\\u003c")  # no text of ours may end the element


def _modules() -> dict[str, str]:
    """Return every module as a data address; their imports of each other become names of the import map."""
    modules = {}
    for path in sorted(STATIC.glob("*.js")):
        source = _IMPORT.sub(r'\1"recon3d/\2"', path.read_text(encoding="utf-8"))
        encoded = base64.b64encode(source.encode("utf-8")).decode("ascii")
        modules[f"recon3d/{path.name}"] = f"data:text/javascript;base64,{encoded}"
    return modules


def _data(contents: Contents, chosen: list[str]) -> Iterator[tuple[str, bytes]]:
    for path in chosen:
        if path.lower().endswith(".exr"):
            yield f"environments/{path}", _environment(contents, path)
        else:
            yield f"files/{path}", read_item(contents, path, MAX_FILE_BYTES)
    for camera in contents.document()["cameras"]:
        found = contents.resolve(camera["image"]) if camera["image"] else None
        if found is not None:
            yield f"thumbnails/{camera['image']}", thumbnail(found, _THUMBNAIL)


def _environment(contents: Contents, path: str) -> bytes:
    found = contents.resolve(path)
    if found is None:
        raise FormatError(f"{path} has vanished")
    return environment_bytes(found)


def _quoted(path: str) -> str:
    return path.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
