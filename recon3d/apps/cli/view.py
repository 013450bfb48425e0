"""`recon3d view`: look at a reconstruction, or at a file of splats, points or a mesh, in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.apps.viewer.contents import read_contents
from recon3d.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class View(Command):
    """Show an output folder, or a .ply, .spz or .glb file, in the browser; Ctrl-C ends it.

    Args:
        path: output folder of recon3d reconstruct, any folder of such files, or one file.
        port: on 127.0.0.1, by default any free one.
        no_browser: only print the address.
        export: write one self-contained .html file instead of starting a server.
    """

    path: Path
    port: int = 0
    no_browser: bool = False
    export: Path | None = None

    def run(self) -> int:
        """Serve until Ctrl-C, or write the page, and return 0."""
        contents = read_contents(self.path.expanduser())
        if self.export is not None:
            return self._export(self.export.expanduser())
        from recon3d.apps.viewer.launch import serve

        serve(contents, self.port, not self.no_browser, self._tell)
        return 0

    def _tell(self, address: str) -> None:
        import sys

        if self.json:
            print_json({"address": address})
        else:
            print_lines([f"{self.path} is shown at", f"  {address}", "only on this machine; Ctrl-C ends it"])
        sys.stdout.flush()

    def _export(self, target: Path) -> int:
        from recon3d.apps.viewer.export import export_page

        if target.suffix.lower() not in (".html", ".htm"):
            raise UsageError("the exported page is one HTML file", got=target, expected="a name that ends in .html")
        n_bytes = export_page(read_contents(self.path.expanduser()), target)
        if self.json:
            print_json({"to": str(target), "bytes": n_bytes})
        else:
            print_lines([f"{target}: {n_bytes / 1e6:.1f} MB, opens offline in any browser"])
        return 0
