"""`recon3d weights`: which weights there are and under which licence, fetching them, and checking what is here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.apps.cli.summary import BELOW_CHECKS
from recon3d.core.errors import UsageError
from recon3d.core.progress import make_progress
from recon3d.feedforward.weights.checking import Verdict, verify
from recon3d.feedforward.weights.fetching import Fetched, fetch
from recon3d.feedforward.weights.store import Listed, list_weights, weights_folder

_HEAD = ("name", "state", "licence", "size", "")


@dataclass(frozen=True, kw_only=True)
class Weights(Command):
    """List the weights of the networks, fetch some (only this asks the network), or verify those that are here.

    Args:
        action: list, fetch or verify.
        names: weights to fetch, or to verify (none = all that are here).
        source: an https address or a file to fetch from instead of the public address.
        to: folder to use instead of the usual one, which RECON3D_WEIGHTS names.
        again: fetch also what is here already.
        quiet: show no progress.
    """

    action: tyro.conf.Positional[Literal["list", "fetch", "verify"]]
    names: tyro.conf.Positional[tuple[str, ...]]
    source: Annotated[str | None, tyro.conf.arg(name="from")] = None
    to: Path | None = None
    again: bool = False
    quiet: bool = False

    @classmethod
    def defaults(cls, words: Sequence[str]) -> Weights:
        """List, where nothing else is asked for."""
        return cls(action="list", names=())

    def run(self) -> int:
        """Do it, print what was found and return 0, or 7 where weights did not stand the check."""
        folder = self.to or weights_folder()
        if self.action == "fetch":
            return self._fetch(folder)
        if self.source or self.again:
            raise UsageError("--from and --again belong to recon3d weights fetch", got=f"weights {self.action}")
        return self._verify(folder) if self.action == "verify" else self._list(folder)

    def _list(self, folder: Path) -> int:
        known = list_weights(folder)
        unknown = sorted(set(self.names) - {one.name for one in known})
        if unknown:
            fix = "recon3d weights list shows all"
            raise UsageError("no weights of this name are known", got=", ".join(unknown), fix=fix)
        chosen = [one for one in known if not self.names or one.name in self.names]
        if self.json:
            print_json({"folder": str(folder), "weights": [_plain(one) for one in chosen]})
        else:
            print_lines(_table([_HEAD, *(_row(one) for one in chosen)]))
            print_lines(["", f"fetched weights lie in {folder}"])
        return 0

    def _fetch(self, folder: Path) -> int:
        if not self.names:
            raise UsageError("no weights named", expected="recon3d weights fetch NAME", fix="see recon3d weights list")
        if self.source and len(self.names) > 1:
            raise UsageError("--from is of one file", got=", ".join(self.names), expected="one name")
        progress = make_progress(self.quiet)
        found = [
            fetch(name, source=self.source, folder=folder, again=self.again, progress=progress) for name in self.names
        ]
        if self.json:
            print_json({"folder": str(folder), "weights": [_plain(one) for one in found]})
        else:
            print_lines(_fetched_line(one) for one in found)
        return 0

    def _verify(self, folder: Path) -> int:
        verdicts = verify(self.names, folder=folder, progress=make_progress(self.quiet))
        if self.json:
            print_json({"folder": str(folder), "weights": [_plain(one) for one in verdicts]})
        else:
            print_lines([_verdict_line(one) for one in verdicts] or [f"no weights in {folder}"])
        return BELOW_CHECKS if any(one.problem for one in verdicts) else 0


def _row(one: Listed) -> tuple[str, ...]:
    state = f"{one.have / one.size:.0%} here" if one.state == "partial" else one.state
    return one.name, state, one.licence, _size(one.size), one.note


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with columns as wide as their widest word."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _fetched_line(one: Fetched) -> str:
    if one.record is None:
        return f"{one.name} comes with recon3d: {one.path}"
    if not one.new:
        return f"{one.name} is here already: {one.path}; recon3d weights verify {one.name} checks it"
    trust = "as known to recon3d" if one.record.compared else "not known to recon3d, recorded for later checks"
    return f"{one.name} is here: {one.path} ({_size(one.record.size)}, SHA-256 {one.record.source_sha256}, {trust})"


def _verdict_line(one: Verdict) -> str:
    against = {"nothing": "there is no checksum to compare with"}.get(one.compared, f"checksum of {one.compared}")
    return f"{one.name}: {f'WRONG: {one.problem}' if one.problem else f'right ({against}; names and shapes fit)'}"


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON-ready fields."""
    return {name: str(one) if isinstance(one, Path) else one for name, one in asdict(value).items()}
