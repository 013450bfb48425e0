from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recon3d.report import ReportInputs, render_report, write_report
from recon3d.report.sections import flatten
from recon3d.scene import Scale, Scene, View

VOID = {"meta", "img", "input", "wbr", "br", "hr", "link"}
URL_ATTRIBUTES = {"src", "href", "action", "data", "poster", "srcset", "xlink:href", "background", "formaction"}


class Page(HTMLParser):
    """Collects elements and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]][-1] += data
        else:
            self.words.append(data)

    def find(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [found for kind, found in self.elements if kind == tag and wanted.items() <= found.items()]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return render_report(inputs)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_elements_nest_and_ids_are_unique(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_photo_is_listed_with_status_and_reason(page: Page, inputs: ReportInputs) -> None:
    assert len(page.find("li")) == len(inputs.views) + len(inputs.warnings)
    for view in inputs.views:
        assert view.key in page.text
        assert view.reason in page.text
    assert len(page.find("button", class_="face")) == 6
    assert len(page.find("li", data_status="skipped")) == 1
    assert len(page.find("li", data_remark="1")) == 1
    assert {button["data-filter"] for button in page.find("button", class_="filter")} == {
        "all", "registered", "not_registered", "skipped", "remark"}  # fmt: skip


def test_user_text_never_becomes_markup(html: str, page: Page) -> None:
    assert "alert(" not in re.sub(r"&lt;(<wbr>)?script&gt;alert", "", html)
    assert "&lt;b&gt;Careful&lt;/b&gt;" in html
    assert "<overlap>" not in html
    assert len(page.find("script")) == 2
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_nothing_is_loaded_from_outside(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]|@import|url\(", html.replace("data:image/jpeg", ""))
    for _, attributes in page.elements:
        for name in URL_ATTRIBUTES & attributes.keys():
            assert attributes[name].startswith("data:image/jpeg;base64,")
    assert not page.find("link")


def test_policy_allows_exactly_this_script_and_style(page: Page) -> None:
    policy = page.find("meta", http_equiv="Content-Security-Policy")[0]["content"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["data:"]
    for kind, text in (("script", page.raw["script"][-1]), ("style", page.raw["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == [f"'sha256-{digest}'"]
    assert all("style" not in attributes for _, attributes in page.elements), "inline styles would be blocked"


def test_thumbnails_are_embedded_byte_for_byte(page: Page, inputs: ReportInputs) -> None:
    sources = [image["src"].split(",")[1] for image in page.find("img", class_="thumb")]
    assert sorted(base64.b64decode(source) for source in sources) == sorted(inputs.thumbnails.values())


def test_numbers_of_the_scene_are_told(page: Page) -> None:
    assert "6 of 8 photos placed, 60 points, mean reprojection error 0.50 px." in page.text
    assert "With 95 % confidence" in page.text
    assert "500.0 px = 27.0 mm" in page.text
    assert "+1.0, \N{MINUS SIGN}1.0 from the centre" in page.text
    assert "k1 \N{MINUS SIGN}0.0500" in page.text
    assert "3 min 20 s" in page.text
    assert "0.020\N{DEGREE SIGN}" in page.text
    assert "3.0 mm" in page.text


def test_table_has_one_sortable_row_per_placed_photo(page: Page, scene: Scene) -> None:
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and "data-row" in attributes]
    assert len(rows) == len(scene.registered)
    assert len(page.find("button", class_="sort")) == 7


def test_settings_and_provenance_are_recorded(page: Page) -> None:
    for text in ("nested.on", "not set", "1, 2.5", "threads", "platform", "angle", "12.5"):
        assert text in page.text
    assert len(page.find("details")) == 3


def test_refused_capture_explains_itself(refused: ReportInputs) -> None:
    page = Page(render_report(refused))
    assert page.open == []
    assert "The camera only <turned>." in page.text
    assert "Refused" in page.text
    assert "no parallax" in page.text
    assert "typical angle between matched rays" in page.text
    assert not page.find("canvas")
    assert "mean reprojection error" not in page.text


@pytest.mark.parametrize("views", [[], [View("a.jpg", "skipped", "empty file")]])
def test_almost_nothing_still_makes_a_page(views: list[View]) -> None:
    page = Page(render_report(ReportInputs("empty", views)))
    assert page.open == []
    assert "No model that can be trusted" in page.text


def test_a_scene_without_points_or_sigma_still_makes_a_page(inputs: ReportInputs, scene: Scene) -> None:
    points = scene.points
    none = {name: getattr(points, name)[:0] for name in vars(points)}
    bare = replace(scene, points=replace(points, **none), pose_sigma=np.full((6, 6), np.nan), scale=Scale())
    page = Page(render_report(replace(inputs, scene=bare, pairs=(), timings={}, settings={})))
    assert page.open == []
    assert "6 of 8 photos placed, 0 points." in page.text


def test_relative_scenes_show_no_metres(inputs: ReportInputs, scene: Scene) -> None:
    text = Page(render_report(replace(inputs, scene=replace(scene, scale=Scale())))).text
    assert "scale of this model is not known" in text
    assert not re.search(r"\d (mm|cm|m)\b(?! \(35 mm)", text.replace("mm (35 mm film)", ""))


def test_many_points_and_photos_stay_below_five_megabytes(
    inputs: ReportInputs, scene_maker: Callable[[int], Scene]
) -> None:
    large = scene_maker(105_000)
    thumbnails = {view.key: bytes(25_000) for view in large.registered}
    text = render_report(replace(inputs, scene=large, thumbnails=thumbnails))
    assert len(text) + 44 * 25_000 * 4 // 3 < 5_000_000
    assert "105,000 points and 6 cameras; 100,000 points are drawn" in text


def test_the_file_is_written_whole_and_the_same_each_time(tmp_path: Path, inputs: ReportInputs, html: str) -> None:
    write_report(inputs, tmp_path / "deep" / "report.html")
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == html
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_flatten_names_nested_values() -> None:
    nested = {"a": {"b": {"c": 1}}, "d": [], "e": False, "f": 0.1, "g": ("x", None)}
    assert flatten(nested) == [("a.b.c", "1"), ("d", "none"), ("e", "no"), ("f", "0.1"), ("g", "x, not set")]
