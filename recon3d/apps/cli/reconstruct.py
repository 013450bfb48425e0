"""`recon3d reconstruct`: photos in, an output folder with cameras, depth, splats, a mesh and a report out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_args

import tyro

from recon3d.apps.cli.command import Command
from recon3d.apps.cli.output import print_json, print_lines
from recon3d.apps.cli.summary import BELOW_CHECKS, summary_json, summary_lines
from recon3d.core.errors import UsageError
from recon3d.pipeline import ReconstructOptions, reconstruct
from recon3d.plan_dense import Preset, with_preset


@dataclass(frozen=True, kw_only=True)
class Reconstruct(Command):
    """Turn photos into cameras, depth maps, splats and a mesh, and write them with a report into a folder.

    Args:
        photos: a folder, photos, a glob in quotes, or a video.
        out: output folder, by default NAME_recon3d beside the input; run again to resume.
        options: how.
    """

    photos: tyro.conf.Positional[tuple[str, ...]]
    out: Path | None = None
    options: Annotated[ReconstructOptions, tyro.conf.arg(name="")] = field(default_factory=ReconstructOptions)

    @classmethod
    def defaults(cls, words: Sequence[str]) -> Reconstruct:
        """Let the preset that the words name choose, so that every other word can change its options one by one."""
        joined = [word.partition("=")[2] for word in words if word.startswith("--preset=")]
        named = [after for word, after in itertools.pairwise(words) if word == "--preset"]
        known: tuple[Preset, ...] = get_args(Preset)
        name: Preset = next((name for name in known if name in joined + named), "standard")
        chosen = with_preset(name)
        options = ReconstructOptions(preset=name, stereo=chosen.stereo, splats=chosen.splats)
        return cls(photos=(), options=options)

    def run(self) -> int:
        """Reconstruct, print a summary and return 0, or 7 where the result is below its own checks."""
        if not self.photos:
            raise UsageError("no photos given", expected="a folder, photos, a glob in quotes, or a video")
        source = self.photos[0] if len(self.photos) == 1 else list(self.photos)
        scene = reconstruct(source, self.options, out=self.out)
        if self.json:
            print_json(summary_json(scene))
        else:
            print_lines(summary_lines(scene))
        return BELOW_CHECKS if scene.provenance.get("failed_checks") else 0
