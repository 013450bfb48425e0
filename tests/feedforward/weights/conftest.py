"""A network of two layers that has "public" weights, and a web server on this machine that misbehaves when told to."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from recon3d.feedforward.weights.download import DownloadOptions
from recon3d.feedforward.weights.registry import CHECKPOINTS, Checkpoint
from recon3d.formats.safetensors import safetensors_bytes

HASTY = DownloadOptions(timeout_s=0.2, window_s=0.2, slowest=1000.0, attempts=3, pause_s=0.0)


def network(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(50, 60), nn.LayerNorm(60))


WEIGHTS = safetensors_bytes(network().state_dict())


@dataclass
class Site:
    """What the server has and how it behaves.

    Args:
        data: its file, below any path.
        etag: names the version of the file; empty for a server that does not tell.
        ranges: whether it sends parts.
        says_length: whether it says how long an answer is.
        faults: one per request, as long as there are some: ("cut", n) stops after n bytes, ("silent", n) falls silent,
            ("drip", n) sends the rest byte by byte, ("status", code) refuses, ("to", address) redirects.
    """

    data: bytes = WEIGHTS
    etag: str = '"v1"'
    ranges: bool = True
    says_length: bool = True
    faults: list[tuple[str, Any]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        site.requests.append(dict(self.headers))
        site.paths.append(self.path)
        kind, value = site.faults.pop(0) if site.faults else ("whole", None)
        if kind in ("status", "to"):
            self.send_response(302 if kind == "to" else value)
            self.send_header("Location" if kind == "to" else "X-None", str(value))
            self.end_headers()
            return
        body = self._head()
        stop = value if kind in ("cut", "silent", "drip") else len(body)
        self.wfile.write(body[:stop])
        self.wfile.flush()
        if kind == "silent":
            site.over.wait(5)
        for i in range(stop, len(body) if kind == "drip" else 0):
            if site.over.wait(0.02):
                return
            self.wfile.write(body[i : i + 1])
            self.wfile.flush()

    def _head(self) -> bytes:
        """Send status and headers, and return what belongs behind them."""
        site, asked = self.site, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        whole = site.data
        partial = asked and site.ranges and self.headers.get("If-Range") in (None, site.etag)
        begin = int(asked[1]) if asked and partial else 0
        if partial and begin >= len(whole):
            self.send_response(416)
            self.end_headers()
            return b""
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        if site.says_length:
            self.send_header("Content-Length", str(len(whole) - begin))
        if site.etag:
            self.send_header("ETag", site.etag)
        self.end_headers()
        return whole[begin:]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": made}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went away
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tiny(site: Site, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Weights called tiny that lie on the server."""
    known = Checkpoint(
        model="tiny",
        repository="somebody/tiny",
        revision="abc",
        licence="Apache-2.0",
        size=len(WEIGHTS),
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    )
    monkeypatch.setattr("recon3d.feedforward.weights.registry._HOST", site.url)
    monkeypatch.setitem(CHECKPOINTS, "tiny", known)
    monkeypatch.setattr("recon3d.feedforward.models.build_model", lambda _: network(2))
    return known


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of fetched weights, empty."""
    monkeypatch.setenv("RECON3D_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


def contents(folder: Path) -> set[str]:
    """Names of the files that a user sees."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")} if folder.is_dir() else set()
