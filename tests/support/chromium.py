"""Headless Chromium over the DevTools protocol: open a page, run scripts in it, press its keys, look at it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FLAGS = (
    "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--ignore-gpu-blocklist --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0"
)
_START_SECONDS = 60
_QUIET = ("GL Driver Message", "GPU stall")  # SwiftShader's remarks on reading pixels


class PageError(AssertionError):
    """A script of a test failed in the page."""


class Page:
    """One page of the browser.

    Args:
        socket: connected to its DevTools.
    """

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.count = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, timeout: float = 100.0, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        end = time.monotonic() + timeout
        while True:
            message = json.loads(self.socket.recv(timeout=max(0.1, end - time.monotonic())))
            self._note(message)
            if message.get("id") == self.count:
                if "error" in message:
                    raise PageError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, message: dict[str, Any]) -> None:
        """Keep what the page complains about."""
        kind, parameters = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        if kind == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        if kind == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.complaints.append(
                " ".join(str(one.get("value", one.get("description"))) for one in parameters["args"])
            )
        self.complaints = [text for text in self.complaints if not any(quiet in text for quiet in _QUIET)]

    def run(self, script: str, timeout: float = 100.0) -> Any:
        """Return what an expression, or the promise of it, becomes in the page.

        Raises:
            PageError: it throws.
        """
        answer = self.send(
            "Runtime.evaluate", timeout, expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def open(self, address: str) -> str:
        """Open the viewer and return its failure, empty where it shows something."""
        self.send("Page.navigate", url=address)
        failure: str = self.run(
            "new Promise((resolve) => { const look = () => window.__viewer"
            " ? window.__viewer.ready.then(resolve)"
            " : document.getElementById('failure') && !document.getElementById('failure').hidden"
            " ? resolve(document.getElementById('failure-text').textContent) : setTimeout(look, 20); look(); })"
        )
        return failure

    def resize(self, width: int, height: int, ratio: float = 1.0, mobile: bool = False) -> None:
        """Give the page another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=mobile
        )

    def key(self, key: str) -> None:
        """Press a key once, as a person does."""
        for kind in ("keyDown", "keyUp"):
            text = key if len(key) == 1 and kind == "keyDown" else ""
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **({"text": text} if text else {}))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send one event of the mouse."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        self.mouse("mouseReleased", x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> None:
        """Drag with a button of the mouse."""
        buttons = {"left": 1, "right": 2, "middle": 4}[button]
        self.mouse("mousePressed", *start, button=button, buttons=buttons, clickCount=1)
        for part in (0.5, 1.0):
            x, y = (a + part * (b - a) for a, b in zip(start, end, strict=True))
            self.mouse("mouseMoved", x, y, button=button, buttons=buttons)
        self.mouse("mouseReleased", *end, button=button, clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """Start a browser with one empty page, and end it.

    Args:
        folder: for its profile.
        width: of the window.
        height: of the window.
    """
    profile = folder / "profile"
    command = [BROWSER, *FLAGS.split(), f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        from websockets.sync.client import connect

        address = _page_address(profile / "DevToolsActivePort", process)
        with connect(address, max_size=None, compression=None, ping_interval=None) as socket:
            page = Page(socket)
            page.resize(width, height)
            yield page
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _page_address(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the browser listens and return the DevTools address of its page."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if port_file.is_file() and (lines := port_file.read_text().split()):
            with urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=10) as answer:
                pages = [one for one in json.load(answer) if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise PageError("the browser did not start")
