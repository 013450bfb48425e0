"""Downloads from a server that cuts, stalls, lies and moves."""

from __future__ import annotations

import errno
import http.client
import shutil
import socket
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from recon3d.core.errors import DependencyError, FormatError, ResourceError, UsageError
from recon3d.core.progress import Progress, Stage
from recon3d.feedforward.weights.addresses import check_address
from recon3d.feedforward.weights.download import DownloadOptions, download, note_file

from .conftest import HASTY, WEIGHTS, Site

SIZE = len(WEIGHTS)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "tiny.safetensors.part"


def bring(site: Site, part: Path, *, size: int | None = SIZE, path: str = "/file") -> bytes:
    download(site.url + path, part, size=size, options=HASTY)
    return part.read_bytes()


def test_a_file_comes_whole_and_its_note_goes(site: Site, part: Path) -> None:
    assert bring(site, part) == WEIGHTS
    assert not note_file(part).exists()
    assert site.requests[0]["Accept-Encoding"] == "identity"
    assert site.requests[0]["User-Agent"].startswith("recon3d/")
    assert "Range" not in site.requests[0]


@pytest.mark.parametrize("cuts", [[1], [1000, 1], [5000, 5000, 700]])
def test_it_goes_on_where_it_was_cut(site: Site, part: Path, cuts: list[int]) -> None:
    site.faults = [("cut", n) for n in cuts]
    assert bring(site, part) == WEIGHTS
    asked = [request.get("Range") for request in site.requests]
    assert asked == [None, *(f"bytes={sum(cuts[: i + 1])}-" for i in range(len(cuts)))]
    assert {request.get("If-Range") for request in site.requests[1:]} == {'"v1"'}


def test_it_starts_over_where_the_server_sends_no_parts(site: Site, part: Path) -> None:
    site.ranges, site.faults = False, [("cut", 4000)]
    assert bring(site, part) == WEIGHTS


def test_it_starts_over_when_the_file_has_changed(site: Site, part: Path) -> None:
    part.write_bytes(b"x" * 4000)
    note_file(part).write_text(f'{{"url": "{site.url}/file", "version": "\\"v0\\""}}')
    assert bring(site, part) == WEIGHTS
    assert site.requests[0]["If-Range"] == '"v0"'


@pytest.mark.parametrize("etag", ["", 'W/"v1"'])
def test_it_goes_on_only_where_the_version_is_certain(site: Site, part: Path, etag: str) -> None:
    site.etag, site.faults = etag, [("cut", 4000)]
    assert bring(site, part) == WEIGHTS
    assert all("Range" not in request for request in site.requests)


def test_a_part_of_another_address_is_not_continued(site: Site, part: Path) -> None:
    site.faults = [("cut", 4000), *[("cut", 0)] * 9]
    with pytest.raises(DependencyError):
        bring(site, part, path="/one")
    site.faults, site.requests[:] = [], []
    assert bring(site, part, path="/two") == WEIGHTS
    assert "Range" not in site.requests[0]


def test_a_file_that_became_shorter_starts_over(site: Site, part: Path) -> None:
    part.write_bytes(b"x" * (SIZE + 10))
    note_file(part).write_text(f'{{"url": "{site.url}/file", "version": "\\"v1\\""}}')
    assert bring(site, part, size=None) == WEIGHTS
    assert [request.get("Range") for request in site.requests] == [f"bytes={SIZE + 10}-", None]


def test_what_was_complete_when_it_was_killed_is_not_asked_for_again(site: Site, part: Path) -> None:
    part.write_bytes(WEIGHTS)
    note_file(part).write_text(f'{{"url": "{site.url}/file", "version": "\\"v1\\""}}')
    assert bring(site, part) == WEIGHTS
    assert site.requests == []


@settings(max_examples=15)
@given(note=st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b"{}", b"3", b'{"url": 1, "version": 2}'])))
def test_a_damaged_note_means_starting_over(tmp_path_factory: pytest.TempPathFactory, note: bytes) -> None:
    from recon3d.feedforward.weights.download import _version

    part = tmp_path_factory.getbasetemp() / "x.part"
    note_file(part).write_bytes(note)
    assert _version(part, "https://a/b") == ""


def test_a_server_that_always_cuts_is_given_up_and_the_part_stays(site: Site, part: Path) -> None:
    site.ranges, site.faults = False, [("cut", 4000)] * 50
    with pytest.raises(DependencyError) as caught:
        bring(site, part)
    text = str(caught.value)
    assert f"4000 bytes of {SIZE}; the server stopped at byte 4000 of {SIZE}" in text
    assert "run the same command again" in text and "--from" in text
    assert part.stat().st_size == 4000
    assert len(site.requests) == 1 + HASTY.attempts


def test_attempts_that_bring_something_are_not_counted(site: Site, part: Path) -> None:
    site.faults = [("cut", 500)] * (4 * HASTY.attempts)
    assert bring(site, part) == WEIGHTS


def test_a_silent_server_is_left(site: Site, part: Path) -> None:
    site.faults = [("silent", 300), ("silent", 0), ("silent", 0), ("silent", 0)]
    with pytest.raises(DependencyError, match=f"300 bytes of {SIZE}; the server fell silent"):
        bring(site, part)


def test_a_server_that_falls_silent_once_is_asked_again(site: Site, part: Path) -> None:
    site.faults = [("silent", 300)]
    assert bring(site, part) == WEIGHTS
    assert site.requests[1]["Range"] == "bytes=300-"


def test_a_trickle_counts_as_stalled(site: Site, part: Path) -> None:
    site.faults = [("drip", 0)] * 9
    with pytest.raises(DependencyError, match=r"the server sent \d+ bytes in 0\.\d s"):
        download(site.url + "/file", part, size=SIZE, options=DownloadOptions(window_s=0.1, attempts=1, pause_s=0.0))


@pytest.mark.parametrize("says_length", [True, False])
def test_another_file_than_expected_is_refused(site: Site, part: Path, says_length: bool) -> None:
    site.data, site.says_length = WEIGHTS + b"more", says_length
    with pytest.raises(FormatError, match=r"has another file|sends more than it said"):
        bring(site, part)
    if says_length:
        assert not part.exists(), "it was refused before a byte of it came"


def test_an_end_that_nobody_announced_counts_as_cut(site: Site, part: Path) -> None:
    site.says_length, site.faults = False, [("cut", 100)]
    assert bring(site, part) == WEIGHTS


def test_a_file_of_unknown_size_is_taken_as_it_comes(site: Site, part: Path) -> None:
    site.says_length, site.data = False, b"anything"
    assert bring(site, part, size=None) == b"anything"


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, part: Path, code: int) -> None:
    site.faults = [("status", code)]
    assert bring(site, part) == WEIGHTS


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (404, "is not there"),
        (410, "is not there"),
        (401, "not given to everybody"),
        (403, "--from FILE"),
        (418, "cannot"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(site: Site, part: Path, code: int, text: str) -> None:
    site.faults = [("status", code)]
    with pytest.raises(DependencyError, match=text) as caught:
        bring(site, part)
    assert f"HTTP {code}" in str(caught.value) and caught.value.exit_code == 5
    assert len(site.requests) == 1
    assert not part.exists()


def test_redirects_are_followed_with_the_part_that_is_missing(site: Site, part: Path) -> None:
    site.faults = [("to", "/elsewhere"), ("cut", 900), ("to", "/elsewhere")]
    assert bring(site, part) == WEIGHTS
    assert site.paths == ["/file", "/elsewhere", "/file", "/elsewhere"]
    assert site.requests[3]["Range"] == "bytes=900-"


@pytest.mark.parametrize("target", ["http://example.com/x", "ftp://127.0.0.1/x", "file:///etc/hostname"])
def test_redirects_to_unsafe_addresses_are_refused(site: Site, part: Path, target: str) -> None:
    site.faults = [("to", target)]
    with pytest.raises(DependencyError):
        bring(site, part)
    assert not part.exists()


def test_redirects_without_end_are_refused(site: Site, part: Path) -> None:
    site.faults = [("to", "/file")] * 50
    with pytest.raises(DependencyError, match="cannot be fetched"):
        bring(site, part)
    assert len(site.requests) < 15


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://a/b", "file:///etc/hostname", "https://", "x", ""])
def test_only_https_addresses_are_asked(url: str) -> None:
    with pytest.raises(UsageError, match="over https only"):
        check_address(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/x", "http://localhost:1/x", "http://127.0.0.1/x", "http://[::1]/x"]
)
def test_https_and_this_machine_are_fine(url: str) -> None:
    check_address(url)


def test_no_network_is_said_at_once(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def nobody(*words: object, **_: object) -> None:
        asked.append(words)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(DependencyError, match=r"weights\.example cannot be reached; got: .*Name or service not known"):
        download("https://weights.example/x", part, size=None, options=HASTY)
    assert len(asked) == 1
    assert not part.exists()


def test_a_closed_port_is_said_at_once(part: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(DependencyError, match=r"127\.0\.0\.1 cannot be reached"):
            download(url, part, size=None, options=HASTY)


def test_bytes_that_are_no_http_count_as_broken(part: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "http.client.HTTPResponse._read_status", lambda _: (_ for _ in ()).throw(ConnectionResetError())
    )
    with pytest.raises(DependencyError, match="the connection broke"):
        bring(site, part)


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(ResourceError, match=r"too little space; got: 0\.00 GB; expected: 0\.05 GB.*--to"):
        bring(site, part)
    assert not part.exists()


class Watched(Progress, Stage):
    """Keeps what a display would show, and may be told to interrupt."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.seen: list[tuple[str, int | None]] = []
        self._stop_at = stop_at

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.seen.append((name, total))
        yield self

    def advance(self, n: int = 1) -> None:
        self.seen.append(("+", n))
        if self.shown() >= self._stop_at:
            raise KeyboardInterrupt

    def shown(self) -> int:
        return sum(n or 0 for name, n in self.seen if name == "+")


def test_the_display_counts_megabytes_up_to_the_size(site: Site, part: Path) -> None:
    site.data, watched = bytes(5_400_000), Watched()
    site.faults = [("cut", 3_000_000)]
    download(site.url, part, size=5_400_000, options=HASTY, progress=watched)
    assert watched.seen[0] == ("fetching tiny.safetensors, MB", 5)
    assert watched.shown() == 5


def test_an_interrupted_download_goes_on_the_next_time(site: Site, part: Path) -> None:
    site.data = bytes(range(256)) * 20_000
    with pytest.raises(KeyboardInterrupt):
        download(site.url, part, size=len(site.data), options=HASTY, progress=Watched(stop_at=2))
    have = part.stat().st_size
    assert 1_400_000 < have < len(site.data)
    download(site.url, part, size=len(site.data), options=HASTY)
    assert site.requests[-1]["Range"] == f"bytes={have}-"
    assert part.read_bytes() == site.data


def test_a_server_that_sends_another_part_is_not_believed(
    site: Site, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.faults = [("cut", 4000)]
    monkeypatch.setattr(http.client.HTTPMessage, "get", lambda self, name, default=None: _shifted(self, name, default))
    with pytest.raises(DependencyError, match="another part than the one asked for"):
        bring(site, part)
    assert part.read_bytes() == WEIGHTS[:4000]


def _shifted(headers: http.client.HTTPMessage, name: str, default: str | None) -> str | None:
    found = next((value for key, value in headers.items() if key.lower() == name.lower()), default)
    return found.replace("bytes 4000-", "bytes 3999-") if found and name == "Content-Range" else found


def test_a_full_disk_is_said_and_the_part_stays(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    site.faults = [("cut", 4000), *[("cut", 0)] * 9]
    with pytest.raises(DependencyError):
        bring(site, part)
    site.faults = []
    monkeypatch.setattr("recon3d.feedforward.weights.download._receive", full)
    with pytest.raises(ResourceError, match="No space left"):
        bring(site, part)
    assert part.stat().st_size == 4000


def test_the_proxies_of_the_environment_are_used(site: Site, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download("http://localhost:1/weights", part, size=SIZE, options=HASTY)
    assert part.read_bytes() == WEIGHTS
    assert site.paths == ["http://localhost:1/weights"]
