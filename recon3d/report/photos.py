"""The parts of the page that list photos: cards, filter buttons and the table of registered photos."""

from __future__ import annotations

import base64
import math
from collections import Counter
from pathlib import PurePosixPath
from statistics import median

from recon3d.report.inputs import ReportInputs
from recon3d.report.stats import PhotoStats, photo_stats
from recon3d.report.text import breakable, escape, length, significant
from recon3d.scene import Scene, Status, View

STATUS_WORDS: dict[Status, str] = {"registered": "placed", "not_registered": "not placed", "skipped": "skipped"}

_MANY = 40  # from here on the cards shrink and the table scrolls
_SHAPES = {"a16-9": 16 / 9, "a3-2": 3 / 2, "a4-3": 4 / 3, "a1-1": 1.0, "a3-4": 3 / 4, "a2-3": 2 / 3}


def photo_section(inputs: ReportInputs) -> str:
    """Return the filter buttons and one card per photo."""
    tally = Counter(view.status for view in inputs.views)
    buttons = [_filter("all", "All", len(inputs.views), True)]
    buttons += [_filter(status, word, tally[status], False) for status, word in STATUS_WORDS.items() if tally[status]]
    remarks = sum(view.status == "registered" and bool(view.reason) for view in inputs.views)
    if remarks:
        buttons.append(_filter("remark", "placed, with a remark", remarks, False))
    cards = "".join(_card(view, number, inputs) for number, view in enumerate(inputs.views, start=1))
    bar = f'<div class="filters" role="group" aria-label="Show photos">{"".join(buttons)}</div>'
    many = " many" if len(inputs.views) > _MANY else ""
    return f'{bar if len(buttons) > 2 else ""}<ol class="cards {_shape(inputs)}{many}">{cards}</ol>'


def _shape(inputs: ReportInputs) -> str:
    """Return the class of the frame that suits most photos."""
    ratios = [view.width / view.height for view in inputs.views if view.width and view.height]
    typical = median(ratios) if ratios else 1.5
    return min(_SHAPES, key=lambda name: abs(math.log(_SHAPES[name] / typical)))


def _filter(name: str, label: str, number: int, pressed: bool) -> str:
    state = "true" if pressed else "false"
    text = label[0].upper() + label[1:]
    return (
        f'<button type="button" class="filter" data-filter="{name}" aria-pressed="{state}">{text} '
        f"<b>{number}</b></button>"
    )


def _card(view: View, number: int, inputs: ReportInputs) -> str:
    remark = ' data-remark="1"' if view.status == "registered" and view.reason else ""
    word = STATUS_WORDS[view.status]
    reason = f'<p class="reason">{escape(view.reason)}</p>' if view.reason else ""
    size = f'<span class="dim">{view.width}\N{MULTIPLICATION SIGN}{view.height}</span>' if view.width else ""
    inside = (
        f'{_picture(view, inputs)}<span class="number" aria-hidden="true">{number}</span>'
        f'<span class="name">{breakable(view.key)}</span>'
    )
    face = (
        f'<button type="button" class="face" data-view="{number}" aria-pressed="false">{inside}</button>'
        if view.status == "registered"
        else f'<div class="face">{inside}</div>'
    )
    return (
        f'<li class="card {view.status}" data-status="{view.status}" data-card="{number}"{remark}>{face}'
        f'<p class="status"><span class="dot" aria-hidden="true"></span>{word} {size}</p>{reason}</li>'
    )


def _picture(view: View, inputs: ReportInputs) -> str:
    data = inputs.thumbnails.get(view.key)
    if not data:
        suffix = PurePosixPath(view.key).suffix.lstrip(".").upper()[:5] or "?"
        return f'<span class="thumb none" aria-hidden="true">{escape(suffix)}</span>'
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img class="thumb" alt="" loading="lazy" decoding="async" src="data:image/jpeg;base64,{encoded}">'


def photo_table(inputs: ReportInputs, scene: Scene) -> str:
    """Return the table of registered photos, one row each, sortable by the script."""
    numbers = {view.key: number for number, view in enumerate(inputs.views, start=1)}
    rows = zip(scene.registered, photo_stats(scene), strict=True)
    body = "".join(_row(view, numbers[view.key], stats, scene) for view, stats in rows)
    long = " long" if len(scene.registered) > _MANY else ""
    unit = "position" if scene.scale.kind == "metric" else "position, units"
    heads = ["#", "Photo", "Points seen", "Mean error, px", "\N{GREEK SMALL LETTER SIGMA} rotation",
             f"\N{GREEK SMALL LETTER SIGMA} {unit}", "Lens"]  # fmt: skip
    cells = "".join(
        f'<th scope="col" aria-sort="{"ascending" if index == 0 else "none"}"><button type="button" class="sort">{head}'
        "</button></th>"
        for index, head in enumerate(heads)
    )
    table = f'<table class="photos"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll{long}" tabindex="0" role="region" aria-label="Table of placed photos">{table}</div>'


def _row(view: View, number: int, stats: PhotoStats, scene: Scene) -> str:
    degrees = significant(stats.sigma_rotation_deg, 2)
    rotation = f"{degrees}\N{DEGREE SIGN}" if degrees[-1].isdigit() else degrees
    position = length(stats.sigma_position, scene.scale).removesuffix(" units")
    cells = [
        (stats.n_observations, f"{stats.n_observations:,}"),
        (stats.mean_error_px, significant(stats.mean_error_px, 2)),
        (stats.sigma_rotation_deg, rotation),
        (stats.sigma_position, position),
        (stats.camera_group, str(stats.camera_group) if stats.camera_group >= 0 else "\N{EN DASH}"),
    ]
    numbers = "".join(f'<td class="num" data-sort="{value!r}">{text}</td>' for value, text in cells)
    name = (
        f'<th scope="row" data-sort="{escape(view.key)}"><button type="button" class="link" data-view="{number}">'
        f"{escape(view.key)}</button></th>"
    )
    return f'<tr data-row="{number}"><td class="num" data-sort="{number}">{number}</td>{name}{numbers}</tr>'
