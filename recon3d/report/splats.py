"""The parts of the page on splats: the turntable, the numbers, the curves and the held-out photos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from recon3d.evaluation.novel_views import NovelViewErrors, ViewErrors
from recon3d.report.curves import line_svg
from recon3d.report.inputs import HeldOutView, SplatSummary
from recon3d.report.pictures import DIFFERENCE_TOP, difference, fitting, image_tag, ramp, reel
from recon3d.report.text import breakable, count, escape, seconds

_MAX_PICTURED = 6
_SIDES = (800, 720, 640, 560, 480)
_PICTURE_BYTES = 1_100_000
_DASH = "\N{EN DASH}"


def splat_section(splats: SplatSummary) -> str:
    """Return the turntable with the numbers beside it, and the curves of the optimisation."""
    facts = definition_list(_facts(splats))
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in splats.notes)
    text = f"The scene as {count(splats.n_gaussians, 'Gaussian')}. {_sentence(splats.turntable_text)}"
    shown = turntable(splats.turntable, splats.is_closed, "The splats", splats.turntable_text)
    body = f'<div class="beside">{shown}<div>{facts}{notes}</div></div>' if shown else facts + notes
    charts = _curves(splats)
    return f'<p class="lead">{text}</p>{body}' + (f'<div class="charts">{charts}</div>' if charts else "")


def _sentence(text: str) -> str:
    return f"{escape(text[:1].upper() + text[1:])}." if text else ""


def definition_list(rows: Mapping[str, str]) -> str:
    """Return escaped rows of a name and a text."""
    body = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in rows.items())
    return f'<dl class="pairs">{body}</dl>'


def _facts(splats: SplatSummary) -> dict[str, str]:
    rows = {"Gaussians": f"{splats.n_gaussians:,}", "trained on": count(splats.n_photos, "photo")}
    if splats.image_size is not None:
        rows["trained on"] += f" of up to {splats.image_size[0]}\N{MULTIPLICATION SIGN}{splats.image_size[1]} px"
    rows["optimisation"] = f"{count(splats.n_iterations, 'step')} in {seconds(splats.seconds)}"
    rows["colour"] = f"spherical harmonics of degree {splats.sh_degree}"
    errors = held_out_errors(splats)
    if errors.views:
        rows["held out"] = count(len(errors.views), "photo")
        rows["PSNR, SSIM"] = f"{decibels(errors.mean('psnr'))} dB, {similarity(errors.mean('ssim'))}"
        if errors.mean("psnr_fit") is not None:
            fit = f"{decibels(errors.mean('psnr_fit'))} dB, {similarity(errors.mean('ssim_fit'))}"
            rows["fitted"] = fit
    return rows | file_rows(splats.file_bytes)


def file_rows(file_bytes: Mapping[str, int]) -> dict[str, str]:
    """Return the sizes of files, one row each."""
    return {name: megabytes(size) for name, size in file_bytes.items()}


def megabytes(size: int) -> str:
    """Return a file size in kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def held_out_errors(splats: SplatSummary) -> NovelViewErrors:
    """Return the errors of all held-out photos."""
    return NovelViewErrors(tuple(view.errors for view in splats.held_out))


def decibels(value: float | None, digits: int = 2) -> str:
    """Return a PSNR; a dash where it is unknown, and the sign of infinity for equal pictures."""
    if value is None or math.isnan(value):
        return _DASH
    return f"{value:.{digits}f}" if math.isfinite(value) else "\N{INFINITY}"


def similarity(value: float | None) -> str:
    """Return an SSIM with three decimals; a dash where it is unknown."""
    return _DASH if value is None or not math.isfinite(value) else f"{value:.3f}"


def turntable(frames: Sequence[np.ndarray], is_closed: bool, name: str, text: str) -> str:
    """Return frames to be turned by dragging, by keys or by a button; nothing where there are none."""
    if not len(frames):
        return ""
    alt = f"{name}, rendered{f': {text}' if text else ''}"
    controls = (
        '<div class="reel-tools" hidden><button type="button" class="play" aria-pressed="false">Play</button>'
        '<input type="range" min="0" value="0" aria-label="Direction of the view"></div>'
    )
    closed = " data-closed" if is_closed else ""
    return (
        f'<figure class="turntable"{closed}><div class="reel">{reel(frames, alt, is_closed)}</div>'
        f"{controls if len(frames) > 1 else ''}</figure>"
    )


def _curves(splats: SplatSummary) -> str:
    """Return charts of what the history holds."""
    history = [record for record in splats.history if "iteration" in record]
    steps = np.array([float(record["iteration"]) for record in history], np.float64)
    wanted = (
        ("psnr", "PSNR of the training photos, dB", False),
        ("loss", "Loss", True),
        ("gaussians", "Gaussians", True),
    )
    figures = []
    for name, title, from_zero in wanted:
        values = np.array([_number(record.get(name)) for record in history], np.float64)
        chart = line_svg(f"{title} over the steps of the optimisation", "step", steps, values, from_zero)
        if chart:
            figures.append(f"<figure><h3>{title}</h3>{chart}</figure>")
    return "".join(figures)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def held_out_section(splats: SplatSummary) -> str:
    """Return pictures of held-out photos beside their predictions, and the table of all of them."""
    views = sorted(splats.held_out, key=lambda view: view.errors.key)
    if not views:
        return ""
    n = count(len(views), "photo was", "photos were")
    note = (
        f"{n} kept out of the optimisation and predicted from the others. Fitted: after the affine map of colours that "
        "suits the view best, which takes away what its exposure and white balance add to the error."
    )
    shown = _pictured(views)
    pictures = [pixels for view in shown for pixels in _trio(view)]
    encoded = fitting(pictures, _SIDES, _PICTURE_BYTES)
    typical = _typical(shown)
    figures = "".join(
        _comparison(view.errors, number, encoded[3 * number : 3 * number + 3], view is typical)
        for number, view in enumerate(shown)
    )
    return f'<p class="lead">{note}</p>{figures}{_table(views, shown)}'


def _pictured(views: Sequence[HeldOutView]) -> list[HeldOutView]:
    """Return the views to show: of all with pictures the worst, the best and those evenly between them."""
    able = [view for view in views if view.photo is not None and view.render is not None]
    by_error = sorted(able, key=lambda view: view.errors.psnr)
    places = {round(place) for place in np.linspace(0, len(able) - 1, min(_MAX_PICTURED, len(able))).tolist()}
    chosen = [by_error[place] for place in sorted(places)]
    return [view for view in able if any(view is other for other in chosen)]


def _typical(views: Sequence[HeldOutView]) -> HeldOutView | None:
    return sorted(views, key=lambda view: view.errors.psnr)[len(views) // 2] if views else None


def _trio(view: HeldOutView) -> list[np.ndarray]:
    """Return photo, prediction and difference, the last one at half the size."""
    if view.photo is None or view.render is None:
        return []
    return [view.photo, view.render, difference(view.photo, view.render)[::2, ::2]]


def _comparison(errors: ViewErrors, number: int, files: Sequence[tuple[bytes, int, int]], is_first: bool) -> str:
    alts = ("Photo {}", "Prediction of {} by the splats", "Difference of photo and prediction of {}")
    photo, render, apart = (
        image_tag(data, (width, height), alt.format(errors.key), css)
        for (data, width, height), alt, css in zip(files, alts, ("photo", "render", ""), strict=True)
    )
    label = "How much of the photo covers the prediction"
    slider = f'<input type="range" min="0" max="100" value="50" aria-label="{label}" hidden>'
    first = " data-first" if is_first else ""
    legend = f'<p class="under">Difference{ramp("magma", "0", f"{DIFFERENCE_TOP:.0%} of full scale")}</p>'
    return (
        f'<figure class="comparison" data-held-out="{number}"{first}><div class="versus">'
        f'<div class="split">{photo}{render}{slider}<span class="tag">Photo</span><span class="tag">Splats</span></div>'
        f"<div>{apart}{legend}<figcaption>{_caption(errors)}</figcaption></div></div></figure>"
    )


def _caption(errors: ViewErrors) -> str:
    text = f"<b>{breakable(errors.key)}</b><br>{decibels(errors.psnr)} dB, SSIM {similarity(errors.ssim)}"
    if errors.psnr_fit is not None:
        text += f"<br>fitted {decibels(errors.psnr_fit)} dB, SSIM {similarity(errors.ssim_fit)}"
    return text


def _table(views: Sequence[HeldOutView], shown: Sequence[HeldOutView]) -> str:
    heads = "".join(
        f'<th scope="col"{"" if index == 0 else " class=num"}>{head}</th>'
        for index, head in enumerate(("Photo", "PSNR, dB", "SSIM", "Fitted PSNR, dB", "Fitted SSIM"))
    )
    rows = "".join(_row(view, next((i for i, other in enumerate(shown) if other is view), None)) for view in views)
    errors = NovelViewErrors(tuple(view.errors for view in views))
    mean = "".join(f'<td class="num">{text}</td>' for text in _numbers(*map(errors.mean, _COLUMNS)))
    foot = f'<tfoot><tr><th scope="row">Mean</th>{mean}</tr></tfoot>' if len(views) > 1 else ""
    long = " long" if len(views) > 20 else ""
    return (
        f'<div class="scroll{long}" tabindex="0" role="region" aria-label="Table of held-out photos">'
        f'<table class="held-out"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>{foot}</table></div>'
    )


_COLUMNS = ("psnr", "ssim", "psnr_fit", "ssim_fit")


def _numbers(psnr: float | None, ssim: float | None, psnr_fit: float | None, ssim_fit: float | None) -> list[str]:
    return [decibels(psnr), similarity(ssim), decibels(psnr_fit), similarity(ssim_fit)]


def _row(view: HeldOutView, number: int | None) -> str:
    errors = view.errors
    name = breakable(errors.key)
    if number is not None:
        name = f'<button type="button" class="link" data-show="{number}">{name}</button>'
    cells = "".join(f'<td class="num">{text}</td>' for text in _numbers(*(getattr(errors, c) for c in _COLUMNS)))
    return f'<tr><th scope="row">{name}</th>{cells}</tr>'
