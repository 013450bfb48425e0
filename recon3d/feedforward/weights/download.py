"""Downloading one file: on where it stopped, never more than promised, and never waiting for ever."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recon3d.core.errors import DependencyError, FormatError, ResourceError
from recon3d.core.files import disk_errors, write_json
from recon3d.core.progress import Progress
from recon3d.feedforward.weights.addresses import OTHER_SOURCE, RangeRefused, TransferStopped, open_address
from recon3d.feedforward.weights.meter import BLOCK, Meter, megabytes

_SPARE_DISK = 50_000_000
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    """Patience of a download.

    Args:
        timeout_s: longest silence of the server, in seconds.
        window_s: spans over which the speed is judged, in seconds.
        slowest: bytes per second below which a span counts as stalled.
        attempts: attempts in a row, each with fewer new bytes than such a span needs, before it gives up.
        pause_s: pause before the second attempt, in seconds; doubled before each further one.
    """

    timeout_s: float = 30.0
    window_s: float = 60.0
    slowest: float = 1000.0
    attempts: int = 4
    pause_s: float = 2.0


_DEFAULTS = DownloadOptions()


def download(
    url: str, part: Path, *, size: int | None, options: DownloadOptions = _DEFAULTS, progress: Progress | None = None
) -> None:
    """Bring a file here, or the rest of it where an earlier download stopped.

    Args:
        url: https; http only for this machine.
        part: where it grows; it stays when the download stops, beside a note that says which file it is part of.
        size: that it must have, in bytes; None where that is not known.
        options: patience.
        progress: display.

    Raises:
        UsageError: the address is not https.
        DependencyError: it cannot be had, or not now.
        FormatError: the address has a file of another size.
        ResourceError: the disk is too small.
    """
    best, idle = _size(part), 0
    shown = None if size is None else megabytes(size)
    with (progress or Progress()).stage(f"fetching {part.stem}, MB", shown) as stage:
        meter = Meter(stage)
        while True:
            try:
                _attempt(url, part, size, options, meter)
                note_file(part).unlink(missing_ok=True)
                return
            except TransferStopped as stopped:
                have = _size(part)
                idle = 0 if have - best >= options.window_s * options.slowest else idle + 1
                best = max(best, have)
                if idle >= options.attempts:
                    raise _gave_up(url, have, size, stopped) from stopped
                stage.note(f"{stopped}; going on at byte {have}")
            time.sleep(options.pause_s * 2 ** max(idle - 1, 0))


def _gave_up(url: str, have: int, size: int | None, why: TransferStopped) -> DependencyError:
    got = f"{have} bytes{f' of {size}' if size else ''}; {why}"
    return DependencyError(
        f"the download of {url} stopped", got=got, fix=f"run the same command again, it goes on there; {OTHER_SOURCE}"
    )


def note_file(part: Path) -> Path:
    """Return the note beside a part: the address and the version of the file that it is part of."""
    return part.with_name(part.name + ".json")


def _attempt(url: str, part: Path, size: int | None, options: DownloadOptions, meter: Meter) -> None:
    version, have = _version(part, url), _size(part)
    if version and have == size:
        return  # it was killed between the last byte and what follows
    resumes = version and 0 < have < (size or have + 1)
    try:
        response = open_address(
            url, {"Range": f"bytes={have}-", "If-Range": version} if resumes else {}, options.timeout_s
        )
    except RangeRefused:
        note_file(part).unlink(missing_ok=True)
        raise
    with response:
        begin, total = _extent(response, have)
        _check_size(url, total, size)
        _check_disk(part, (total or size or 0) - begin)
        with disk_errors(part), part.open("r+b" if begin else "wb") as file:
            write_json(note_file(part), {"url": url, "version": _version_of(response)})
            file.seek(begin)
            file.truncate()
            _receive(response, file, _Judge(options), meter, total if total is not None else size)


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return the first byte that the server sends and the size of the whole file, where it says so."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            raise TransferStopped("the server sent another part than the one asked for")
        return have, int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _check_size(url: str, total: int | None, size: int | None) -> None:
    if size is not None and total is not None and total != size:
        raise FormatError(
            f"{url} has another file",
            got=f"{total} bytes",
            expected=f"{size} bytes",
            fix=f"see the page; {OTHER_SOURCE}",
        )


def _check_disk(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + _SPARE_DISK:
        raise ResourceError(
            f"{part.parent} has too little space",
            got=f"{free / 1e9:.2f} GB",
            expected=f"{(needed + _SPARE_DISK) / 1e9:.2f} GB",
            fix="free some space, or choose another folder with --to",
        )


class _Judge:
    """Says when a download has become too slow."""

    def __init__(self, options: DownloadOptions) -> None:
        self._options, self._start, self._count = options, time.monotonic(), 0

    def count(self, n: int) -> None:
        """Count ``n`` more bytes."""
        self._count += n
        seconds = time.monotonic() - self._start
        if seconds < self._options.window_s:
            return
        if self._count < self._options.slowest * seconds:
            raise TransferStopped(f"the server sent {self._count} bytes in {seconds:.1f} s")
        self._start, self._count = time.monotonic(), 0


def _receive(
    response: http.client.HTTPResponse, file: BinaryIO, judge: _Judge, meter: Meter, total: int | None
) -> None:
    """Write what comes until the end, which must be where the server said."""
    while True:
        try:
            block = response.read1(BLOCK)
        except TimeoutError as error:
            raise TransferStopped("the server fell silent") from error
        except (OSError, http.client.HTTPException) as error:
            raise TransferStopped(f"the connection broke ({str(error) or type(error).__name__})") from error
        if not block:
            break
        file.write(block)
        meter.at(file.tell())
        if total is not None and file.tell() > total:
            raise FormatError("the server sends more than it said", got=f"over {total} bytes", fix=OTHER_SOURCE)
        judge.count(len(block))
    if total is not None and file.tell() < total:
        raise TransferStopped(f"the server stopped at byte {file.tell()} of {total}")


def _version_of(response: http.client.HTTPResponse) -> str:
    """Return what names this version of the file in ``If-Range``; empty where nothing is sure to (RFC 9110, 13.1.5)."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else ""


def _version(part: Path, url: str) -> str:
    """Return the version that a part belongs to; empty where it is not known, or of another address."""
    try:
        note = json.loads(note_file(part).read_text(encoding="utf-8"))
        return str(note["version"]) if note["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
