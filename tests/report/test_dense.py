"""The sections on splats, held-out photos, depth and mesh."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from recon3d.core.errors import ShapeError
from recon3d.evaluation.novel_views import ViewErrors
from recon3d.report import DenseResults, HeldOutView, ReportInputs, SplatSummary, render_report
from recon3d.report.dense import area, depth_section, extent, mesh_section
from recon3d.report.pictures import DIFFERENCE_TOP, difference, fitting, picture, ramp
from recon3d.report.splats import held_out_section, splat_section, turntable
from recon3d.report.text import length_range
from recon3d.scene import Scale, Scene

from .test_page import URL_ATTRIBUTES, Page

PARTS = {"splats", "held-out", "mesh", "depth", "relight"}
METRIC, RELATIVE = Scale("metric", "known"), Scale()


@pytest.fixture(scope="module")
def html(inputs: ReportInputs, dense: DenseResults) -> str:
    return render_report(replace(inputs, dense=dense))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_sections_stand_in_order_and_nest(page: Page) -> None:
    names = [section["id"] for section in page.find("section") if "id" in section]
    assert names == [
        "view",
        "splats",
        "held-out",
        "mesh",
        "relight",
        "depth",
        "photos",
        "quality",
        "matching",
        "lens",
        "time",
        "record",
    ]
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_without_results_the_page_is_as_before(inputs: ReportInputs) -> None:
    page = Page(render_report(inputs))
    assert not {section.get("id") for section in page.find("section")} & PARTS
    assert "PSNR" not in page.text
    assert not page.find("figure", class_="turntable")


@pytest.mark.parametrize("part", ["splats", "depth", "mesh", "stereo", "relight"])
def test_each_part_can_come_alone(inputs: ReportInputs, dense: DenseResults, part: str) -> None:
    alone = DenseResults(**{part: getattr(dense, part)})
    page = Page(render_report(replace(inputs, dense=alone)))
    assert page.open == []
    found = {section.get("id") for section in page.find("section")} & PARTS
    assert found == {"splats": {"splats", "held-out"}, "stereo": {"depth"}}.get(part, {part})


def test_a_refused_capture_shows_no_results(refused: ReportInputs, dense: DenseResults) -> None:
    assert "Gaussian" not in Page(render_report(replace(refused, dense=dense))).text


def test_numbers_are_told(page: Page) -> None:
    for text in (
        "The scene as 123,456 Gaussians. An orbit <around>.",
        "9 photos of up to 640\N{MULTIPLICATION SIGN}480 px",
        "3,000 steps in 95 s",
        "29.0 MB",
        "capped <by> the preset",
        "held-out PSNR25.0 dB",
        "6 depth maps from multi-view stereo; 75% of the pixels have a depth, made in 30 s.",
        "6, each from 5 other photos",
        "1.84 megapixels",
        "4,321 added to the scene",
        "9,876",
        "2.50 m\N{SUPERSCRIPT TWO}",
        "1.00 \N{MULTIPLICATION SIGN} 2.00 \N{MULTIPLICATION SIGN} 0.500 m",
        "no, it has open edges",
        "200 kB",
        "23,456 splats with albedo",
        "Photos fix only the product of light and albedo",
        "88% of the surface; the rest was filled in",
        "7 photos of up to 512\N{MULTIPLICATION SIGN}384 px",
        "25.00 dB, 0.800",
        "scaled <by> a rule",
        "3.1 MB",
    ):
        assert text in page.text


def test_user_text_never_becomes_markup(html: str) -> None:
    assert "<around>" not in html
    assert "<by>" not in html
    assert "alert(" not in re.sub(r"&lt;(<wbr>)?script&gt;alert", "", html)


def test_nothing_is_loaded_from_outside_and_no_style_is_inline(html: str, page: Page) -> None:
    assert not re.search(r"https?:|@import|url\(", html)
    for _, attributes in page.elements:
        assert "style" not in attributes
        for name in URL_ATTRIBUTES & attributes.keys():
            assert attributes[name].startswith("data:image/jpeg;base64,")


def test_every_picture_is_described_once(page: Page) -> None:
    pictures = [
        image for image in page.find("img") if image.get("class") != "thumb" and image.get("id") != "picked-image"
    ]
    assert len(pictures) == 8 + 2 * 3 + 3 + 1 + 2
    described = [image["alt"] for image in pictures if image["alt"]]
    assert len(described) == len(pictures) - 7  # a turntable is one picture
    assert "Prediction of b1.jpg by the splats" in described
    assert "Depth of b0.jpg" in described


def test_controls_have_names_and_start_hidden(page: Page) -> None:
    ranges = [entry for entry in page.find("input", type_="range") if "id" not in entry]
    assert len(ranges) == 3
    assert all(entry["aria-label"] for entry in ranges)
    assert all("hidden" in tools for tools in page.find("div", class_="reel-tools"))


def test_the_table_holds_all_photos_and_their_mean(page: Page) -> None:
    assert "b1.jpg25.130.81226.500.825" in page.text.replace(" ", "")
    assert "b5.jpg30.000.900\N{EN DASH}\N{EN DASH}" in page.text.replace(" ", "")
    assert "Mean25.040.804\N{EN DASH}\N{EN DASH}" in page.text.replace(" ", "")
    assert len(page.find("button", class_="link", data_show="0")) == 1
    assert len([button for button in page.find("button", class_="link") if "data-show" in button]) == 2


def test_relative_scenes_show_no_metres(inputs: ReportInputs, scene: Scene, dense: DenseResults) -> None:
    relative = replace(inputs, scene=replace(scene, scale=RELATIVE), dense=dense)
    text = Page(render_report(relative)).text
    assert "2.50 square units" in text
    assert not re.search(r"\d (mm|cm|m)[\N{SUPERSCRIPT TWO}\b](?! \(35 mm)", text.replace("mm (35 mm film)", ""))
    assert "2.98 units" in text or "2.95 units" in text or "units" in text


def many_views(n: int) -> list[HeldOutView]:
    rng = np.random.default_rng(0)
    errors = [ViewErrors(f"v{index:02d}.jpg", 20 + float(rng.uniform(0, 9)), 0.8, 25.0, 0.8) for index in range(n)]
    return [HeldOutView(each, *(rng.integers(0, 256, (2, 40, 60, 3)).astype(np.uint8))) for each in errors]


def test_of_many_photos_the_worst_and_the_best_are_shown() -> None:
    views = many_views(25)
    html = held_out_section(SplatSummary(1, 1, 1.0, 1, held_out=views))
    page = Page(html)
    assert len(page.find("figure", class_="comparison")) == 6
    assert len([figure for figure in page.find("figure") if "data-first" in figure]) == 1
    ordered = sorted(views, key=lambda view: view.errors.psnr)
    for view in (ordered[0], ordered[-1]):
        assert f"Photo {view.errors.key}" in html
    assert html.count("<tr>") == 25 + 2


def test_noise_in_every_picture_stays_below_a_few_megabytes(inputs: ReportInputs, dense: DenseResults) -> None:
    """The worst that JPEG can meet; what a report of real photos needs is about a third."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (480, 640, 3)).astype(np.uint8)
    views = [HeldOutView(ViewErrors(f"{index}.jpg", 20.0, 0.5), noise, noise[::-1].copy()) for index in range(20)]
    splats = SplatSummary(1, 1, 1.0, 1, held_out=views, turntable=[noise] * 36)
    assert len(render_report(replace(inputs, dense=replace(dense, splats=splats)))) < 6_500_000


def decoded(html: str) -> list[np.ndarray]:
    files = re.findall(r"base64,([^\"]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in files]


def test_turntables_hold_their_frames_in_order() -> None:
    frames = [np.full((20, 30, 3), 10 * index, np.uint8) for index in range(12)]
    html = turntable(frames, True, "The splats", "")
    assert "data-closed" in html
    assert [int(frame.mean()) // 10 for frame in decoded(html)] == list(range(12))
    assert html.count('class="on"') == 1
    assert [index for index, tag in enumerate(html.split("<img")) if 'class="on"' in tag] == [1]
    halfway = turntable(frames, False, "The splats", "")
    assert [index for index, tag in enumerate(halfway.split("<img")) if 'class="on"' in tag] == [7]
    assert "data-closed" not in turntable(frames, False, "The splats", "")
    assert turntable([], True, "The splats", "") == ""
    assert "reel-tools" not in turntable(frames[:1], True, "The splats", "")


def test_a_long_turntable_is_thinned_evenly() -> None:
    frames = [np.full((8, 8, 3), index, np.uint8) for index in range(144)]
    values = [int(frame.mean().round()) for frame in decoded(turntable(frames, True, "x", ""))]
    assert values == list(range(0, 144, 2))


def test_pictures_shrink_to_the_first_side_that_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    (large,) = fitting([noise], (400, 100), 10**9)
    (small,) = fitting([noise], (400, 100), 20_000)
    (least,) = fitting([noise], (400, 100), 1)
    assert (large[1:], small[1:], least[1:]) == ((400, 300), (100, 75), (100, 75))
    assert picture(noise, "a & b", 200).startswith('<img width="200" height="150" alt="a &amp; b"')


def test_differences_are_zero_or_saturate() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert (difference(black, black) == difference(black, black)[0, 0]).all()
    assert difference(black, black).max() <= 4
    limit = (black + int(255 * DIFFERENCE_TOP) + 1).astype(np.uint8)
    assert (difference(black, white) == difference(black, limit)).all()


def test_photo_and_prediction_must_agree(without_shape_checks: None) -> None:
    with pytest.raises(ShapeError, match="differ in size"):
        HeldOutView(ViewErrors("a", 1.0, 1.0), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))


def test_the_legend_runs_from_low_to_high() -> None:
    colours = re.findall(r'fill="#(\w{6})"', ramp("viridis", "0", "1"))
    assert colours[0] == "440154"
    assert colours[-1] == "fde725"
    assert re.findall(r'fill="#(\w{6})"', ramp("viridis", "0", "1", reverse=True)) == colours[::-1]


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (2.5, METRIC, "2.50 m\N{SUPERSCRIPT TWO}"),
        (0.02, METRIC, "200 cm\N{SUPERSCRIPT TWO}"),
        (5e-5, METRIC, "50.0 mm\N{SUPERSCRIPT TWO}"),
        (2.5, RELATIVE, "2.50 square units"),
    ],
)
def test_areas(value: float, scale: Scale, text: str) -> None:
    assert area(value, scale) == text


def test_sizes_and_ranges_have_one_unit() -> None:
    assert extent((0.5, 0.02, 0.3), METRIC) == "50.0 \N{MULTIPLICATION SIGN} 2.00 \N{MULTIPLICATION SIGN} 30.0 cm"
    assert extent((0.5, 0.02, 0.3), RELATIVE).endswith("0.300 units")
    assert length_range(0.49, 1.24, METRIC) == ("0.490 m", "1.24 m")
    assert length_range(0.0, 0.0042, METRIC) == ("0", "4.20 mm")
    assert length_range(0.2, 0.3, METRIC) == ("20.0 cm", "30.0 cm")
    assert length_range(0.2, 0.3, RELATIVE) == ("0.200 units", "0.300 units")


def test_depth_without_any_value_still_makes_a_preview(dense: DenseResults) -> None:
    assert dense.depth is not None
    preview = dense.depth.previews[0]
    nothing = replace(preview.depth, depth_z=preview.depth.depth_z * 0, sigma=preview.depth.sigma * 0)
    html = depth_section(replace(dense.depth, previews=[replace(preview, depth=nothing)]), None, METRIC)
    assert "0% covered" in html
    assert "Standard deviation" not in html
    assert depth_section(None, None, METRIC) == ""


def test_a_mesh_turntable_takes_the_place_of_pictures(dense: DenseResults) -> None:
    assert dense.mesh is not None
    frames = [np.zeros((8, 8, 3), np.uint8)] * 3
    html = mesh_section(replace(dense.mesh, turntable=frames, is_watertight=True, seconds=float("nan")), METRIC)
    assert 'class="turntable"' in html
    assert 'class="pictures"' not in html
    assert "yes, without an open edge" in html
    assert "made in" not in html


@pytest.mark.parametrize(
    "change",
    [
        lambda splats: replace(splats, history=[]),
        lambda splats: replace(splats, history=[{"iteration": 0, "loss": float("nan")}, {"psnr": 3}]),
        lambda splats: replace(splats, turntable=()),
        lambda splats: replace(splats, held_out=()),
        lambda splats: replace(splats, image_size=None, turntable_text="", notes=()),
        lambda splats: replace(splats, held_out=[HeldOutView(ViewErrors("same.jpg", float("inf"), 1.0))]),
    ],
)
def test_splats_with_gaps_still_make_a_page(
    inputs: ReportInputs, dense: DenseResults, change: Callable[[SplatSummary], SplatSummary]
) -> None:
    assert dense.splats is not None
    page = Page(render_report(replace(inputs, dense=replace(dense, splats=change(dense.splats)))))
    assert page.open == []
    assert not re.search(r"\b(nan|inf)\b", page.text.lower())


def test_the_section_of_splats_names_every_curve(dense: DenseResults) -> None:
    assert dense.splats is not None
    html = splat_section(dense.splats)
    for title in ("PSNR of the training photos, dB", "Loss", "Gaussians"):
        assert f"<h3>{title}</h3>" in html
