"""The part of the page on materials and light."""

from __future__ import annotations

import math

from recon3d.evaluation.novel_views import NovelViewErrors
from recon3d.report.inputs import RelightSummary
from recon3d.report.pictures import fitting, image_tag
from recon3d.report.splats import decibels, definition_list, file_rows, similarity
from recon3d.report.text import count, escape, seconds

_SIDES = (560, 480, 400)
_PICTURE_BYTES = 500_000
_SCALE = (
    "Photos fix only the product of light and albedo: a surface half as bright under twice the light looks the same. "
    "The scale of the albedo is a choice; the notes say which."
)


def relight_section(relight: RelightSummary) -> str:
    """Return pictures of the materials from one camera, the numbers, and what fixes the scale of the albedo."""
    lead = f"{count(relight.n_splats, 'splat')} with albedo, roughness, metallic, normal and baked shadows. {_SCALE}"
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in relight.notes)
    return f'<p class="lead">{escape(lead)}</p>{_pictures(relight)}{definition_list(_rows(relight))}{notes}'


def _pictures(relight: RelightSummary) -> str:
    if not relight.pictures:
        return ""
    encoded = fitting(list(relight.pictures.values()), _SIDES, _PICTURE_BYTES)
    cells = "".join(
        f"<div>{image_tag(data, (width, height), f'{name}, from the camera of {relight.key}')}"
        f'<p class="under">{escape(name)}</p></div>'
        for name, (data, width, height) in zip(relight.pictures, encoded, strict=True)
    )
    caption = f"<figcaption>From the camera of {escape(relight.key)}</figcaption>" if relight.key else ""
    return f'<figure class="materials"><div class="triple">{cells}</div>{caption}</figure>'


def _rows(relight: RelightSummary) -> dict[str, str]:
    width, height = relight.image_size
    rows = {
        "splats": f"{relight.n_splats:,}",
        "triangles": f"{relight.n_faces:,}",
        "estimated from": f"{count(relight.n_photos, 'photo')} of up to {width}\N{MULTIPLICATION SIGN}{height} px",
        "seen": f"{relight.seen:.0%} of the surface; the rest was filled in",
    }
    errors = NovelViewErrors(tuple(relight.held_out))
    if errors.views:
        rows["held out"] = f"{count(len(errors.views), 'photo')}, where the surface is"
        rows["PSNR, SSIM"] = f"{decibels(errors.mean('psnr'))} dB, {similarity(errors.mean('ssim'))}"
        if errors.mean("psnr_fit") is not None:
            rows["fitted"] = f"{decibels(errors.mean('psnr_fit'))} dB, {similarity(errors.mean('ssim_fit'))}"
    if math.isfinite(relight.seconds):
        rows["made in"] = seconds(relight.seconds)
    return rows | file_rows(relight.file_bytes)
