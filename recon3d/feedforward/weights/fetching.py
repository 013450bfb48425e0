"""Fetching weights: from their page, a mirror or a file into the folder, and only after they were checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from recon3d.core.errors import FormatError, InputError, Recon3DError, ResourceError
from recon3d.core.files import disk_errors
from recon3d.core.progress import Progress
from recon3d.feedforward.weights.addresses import OTHER_SOURCE, check_address
from recon3d.feedforward.weights.checking import check_fits
from recon3d.feedforward.weights.download import DownloadOptions, download, note_file
from recon3d.feedforward.weights.meter import BLOCK, Meter, hash_file, megabytes
from recon3d.feedforward.weights.registry import Checkpoint, checkpoint_named
from recon3d.feedforward.weights.store import (
    Record,
    bundled_files,
    part_file,
    read_record,
    weights_file,
    write_record,
)

_PICKLED = (".pt", ".pth", ".bin")
_MAGIC = {b"\x80": "a pickle, which could run code", b"PK": "an archive of torch.save", b"<": "a web page"}
_DEFAULTS = DownloadOptions()


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Weights that are at hand after a fetch.

    Args:
        name: theirs.
        path: of the file.
        record: what was learned of it; None for bundled ones.
        new: whether this call brought it.
    """

    name: str
    path: Path
    record: Record | None
    new: bool


def fetch(
    name: str,
    *,
    source: str | None = None,
    folder: Path | None = None,
    again: bool = False,
    options: DownloadOptions = _DEFAULTS,
    progress: Progress | None = None,
) -> Fetched:
    """Bring weights into the folder; this alone asks the network, and only when it is called.

    Args:
        name: of the weights, as ``recon3d weights list`` shows it.
        source: an https address or a file instead of the public address; a file of ``torch.save`` is converted.
        folder: where to, instead of :func:`~recon3d.feedforward.weights.weights_folder`.
        again: also where they are there.
        options: patience of the download.
        progress: display.

    Raises:
        UsageError: there are no such weights, or the address is not https.
        InputError: the file is not there, or its names or shapes are not those of the network.
        FormatError: it has another size or checksum, is damaged, or holds code.
        DependencyError: the network or the server does not give them.
        ResourceError: the disk is too small, or another process fetches the same.
    """
    bundled = bundled_files()
    if name in bundled:
        return Fetched(name=name, path=bundled[name], record=None, new=False)
    known, path = checkpoint_named(name), weights_file(name, folder)
    if source is not None:
        source = _checked_source(source)
    with _alone(path):
        record = None if again else _at_hand(name, path, known, progress or Progress())
        if record is not None:
            return Fetched(name=name, path=path, record=record, new=False)
        made = _Arrival(name, known, source or known.url, path, progress or Progress()).run(options)
    return Fetched(name=name, path=path, record=made, new=True)


def _checked_source(source: str) -> str:
    """Return an address as it is, and a file by its whole path."""
    if "://" in source:
        check_address(source)
        return source
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"{source} is no file", expected="an https address or a file")
    return str(path.resolve())


def _at_hand(name: str, path: Path, known: Checkpoint, progress: Progress) -> Record | None:
    """Return the record of a file that is there; one that somebody laid there is taken if it is the right one."""
    if not path.is_file():
        return None
    record, size = read_record(path), path.stat().st_size
    if record is not None:
        return record if record.size == size else None
    if size != known.size or hash_file(path, progress, f"checking {name}") != known.sha256:
        return None
    found = str(known.sha256)
    record = _record(sha256=found, size=size, source=str(path), source_sha256=found, compared=True)
    write_record(path, record)
    return record


def _record(*, sha256: str, size: int, source: str, source_sha256: str, compared: bool) -> Record:
    """Return a record of now."""
    return Record(
        sha256=sha256,
        size=size,
        source=source,
        source_sha256=source_sha256,
        compared=compared,
        fetched=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from fetching the same file; the system frees the lock of a killed one."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResourceError(f"another process is fetching {path.name}", fix="wait until it has ended") from error
        yield


@dataclass(frozen=True)
class _Arrival:
    """One fetch on its way."""

    name: str
    known: Checkpoint
    source: str
    path: Path
    progress: Progress

    @property
    def part(self) -> Path:
        return part_file(self.path)

    @property
    def converts(self) -> bool:
        """Whether the source is a file of torch.save by its name."""
        return Path(urlsplit(self.source).path if "://" in self.source else self.source).suffix in _PICKLED

    def run(self, options: DownloadOptions) -> Record:
        """Bring the file, check it, and only then give it its name."""
        size = None if self.converts else self.known.size
        if "://" in self.source:
            download(self.source, self.part, size=size, options=options, progress=self.progress)
        else:
            self._copy(Path(self.source))
        try:
            found = hash_file(self.part, self.progress, f"checking {self.name}")
            self._check(found)
            if self.converts:
                self._convert()
            with self.progress.stage(f"comparing {self.name} with the network"):
                check_fits(self.known.model, self.part)
        except Recon3DError:
            self._discard()  # the next fetch must not go on from it
            raise
        return self._accept(found)

    def _copy(self, source: Path) -> None:
        """Copy a file here, so that nothing that happens to the original later matters."""
        note_file(self.part).unlink(missing_ok=True)
        try:
            size = source.stat().st_size
            shown = self.progress.stage(f"copying {source.name}, MB", megabytes(size))
            with shown as stage, source.open("rb") as reader, disk_errors(self.part), self.part.open("wb") as writer:
                meter = Meter(stage)
                while block := reader.read(BLOCK):
                    writer.write(block)
                    meter.at(writer.tell())
        except OSError as error:
            self._discard()
            raise InputError(f"{source} cannot be read", got=error.strerror or error) from error
        except BaseException:
            self._discard()
            raise

    def _check(self, found: str) -> None:
        """Refuse what is no file of weights by its first bytes or its checksum."""
        with self.part.open("rb") as file:
            start = file.read(2)
        kind = next((text for magic, text in _MAGIC.items() if start.startswith(magic)), None)
        if kind is not None and not (self.converts and start in (b"PK", b"\x80\x02")):
            fix = (
                "name a file that ends in .pt if it is one of torch.save; it is read without running code and converted"
            )
            raise FormatError(f"{self.source} is not a safetensors file", got=kind, expected="safetensors", fix=fix)
        expected, origin = self._expected()
        if expected is not None and found != expected:
            size = self.part.stat().st_size
            raise FormatError(
                f"{self.source} has not the checksum {origin}",
                got=f"SHA-256 {found}, {size} bytes",
                expected=f"{expected}, {self.known.size} bytes",
                fix=f"fetch it again; {OTHER_SOURCE}",
            )

    def _expected(self) -> tuple[str | None, str]:
        """Return the checksum that the source must have, and where it is from."""
        if not self.converts and self.known.sha256 is not None:
            return self.known.sha256, "that recon3d knows"
        record = read_record(self.path)
        if record is not None and record.source == self.source:
            return record.source_sha256, f"of the first fetch (in {self.path.with_suffix('.json')})"
        return None, ""

    def _convert(self) -> None:
        """Turn a file of torch.save into safetensors, reading tensors only."""
        from recon3d.formats.safetensors import write_safetensors
        from recon3d.formats.weights import read_state

        with self.progress.stage(f"converting {self.name}"):
            pickled = self.part.with_suffix(".pt")
            try:
                os.replace(self.part, pickled)
                write_safetensors(self.part, read_state(pickled))
            finally:
                pickled.unlink(missing_ok=True)

    def _accept(self, found: str) -> Record:
        record = _record(
            sha256=hash_file(self.part, self.progress, f"checking {self.name}") if self.converts else found,
            size=self.part.stat().st_size,
            source=self.source,
            source_sha256=found,
            compared=self._expected()[0] is not None,
        )
        with disk_errors(self.path):
            _flush(self.part)
            os.replace(self.part, self.path)
        write_record(self.path, record)
        return record

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        note_file(self.part).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
