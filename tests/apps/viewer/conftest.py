"""A server of the viewer and a browser, both started once for all tests of this folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chromium import BROWSER, Page, chromium

from recon3d.apps.viewer.contents import Contents, read_contents
from recon3d.apps.viewer.launch import make_server

TOKEN = "secret-of-the-tests"


@contextmanager
def serving(contents: Contents) -> Iterator[str]:
    """Serve in a thread; yields the address of the page."""
    server, listener, address = make_server(contents, token=TOKEN)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder or file until the test ends."""
    stack = []

    def start(path: Path) -> str:
        context = serving(read_contents(path))
        stack.append(context)
        return context.__enter__()

    yield start
    for context in stack:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if not BROWSER:
        pytest.skip("no Chromium on this machine: the page of the viewer is not tested")
    with chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, serve: Callable[[Path], str]) -> Iterator[Page]:
    """The browser's page; whatever it complained about fails the test, unless the test has taken it out.

    It leaves before its server ends: a page asks whether that is still alive.
    """
    browser.complaints.clear()
    browser.resize(1280, 800)
    yield browser
    browser.send("Page.navigate", url="about:blank")
    assert browser.complaints == []
