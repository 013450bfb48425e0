"""Facts of the type and the file of relightable splats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import Target, fuzz
from random_scenes import unchecked
from small_gaussians import random_scene

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.formats.ply import Ply, read_ply, write_ply
from recon3d.render.gaussians import load_gaussians, save_gaussians
from recon3d.render.gaussians.types import FIELDS
from recon3d.splats.relight import (
    RelightableGaussians,
    load_relightable,
    open_transfer,
    parse_relightable,
    save_relightable,
)
from recon3d.splats.relight.types import MATERIAL_FIELDS

EXTRA = ["albedo_0", "albedo_1", "albedo_2", "roughness", "metallic", *(f"tr_{index}" for index in range(9))]


def splats(n: int = 7, degree: int = 0, seed: int = 0) -> RelightableGaussians:
    source = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(n, 3, generator=source), dim=-1)
    albedo, other = torch.rand(n, 3, generator=source), torch.rand(n, 3, generator=source)
    transfer = open_transfer(normals) * other[:, 2:]
    gaussians = random_scene(n, degree, seed, torch.float32)
    return RelightableGaussians(gaussians, normals, albedo, other[:, 0], other[:, 1], transfer, "studio, exposure 0.5")


def rewritten(path: Path, change: dict[str, np.ndarray | None], comments: list[str] | None = None) -> Path:
    """Write the file again with other columns; None leaves one out."""
    ply: Ply = read_ply(path)
    columns = {name: values for name, values in {**ply.vertices, **change}.items() if values is not None}
    out = path.with_name("changed.ply")
    write_ply(out, columns, comments=list(ply.comments) if comments is None else comments)
    return out


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_relightable(tmp_path / "splats.ply", splats())
    return tmp_path / "splats.ply"


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("space", ["srgb", "linear"])
def test_all_comes_back(tmp_path: Path, degree: int, space: str) -> None:
    given = splats(degree=degree)
    given = replace(given, gaussians=replace(given.gaussians, colour_space=space))
    save_relightable(tmp_path / "one.ply", given)
    found = load_relightable(tmp_path / "one.ply")
    assert all(torch.equal(getattr(found, name), getattr(given, name)) for name in MATERIAL_FIELDS)
    assert all(torch.equal(getattr(found.gaussians, name), getattr(given.gaussians, name)) for name in FIELDS)
    assert (found.light, found.gaussians.colour_space) == ("studio, exposure 0.5", space)
    save_relightable(tmp_path / "two.ply", found)
    assert (tmp_path / "one.ply").read_bytes() == (tmp_path / "two.ply").read_bytes()


def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    save_relightable(tmp_path / "none.ply", splats()[:0])
    assert len(load_relightable(tmp_path / "none.ply")) == 0


def test_usual_properties_stand_first(saved: Path, tmp_path: Path) -> None:
    save_gaussians(tmp_path / "plain.ply", splats().gaussians)
    usual = list(read_ply(tmp_path / "plain.ply").vertices)
    assert list(read_ply(saved).vertices) == usual + EXTRA


def test_plain_readers_ignore_the_rest(saved: Path) -> None:
    plain, given = load_gaussians(saved), splats().gaussians
    assert all(torch.equal(getattr(plain, name), getattr(given, name)) for name in FIELDS)


def test_header_names_spaces_axes_and_light(saved: Path) -> None:
    text = "\n".join(read_ply(saved).comments)
    assert all(word in text for word in ("linear RGB", "z up", "light studio, exposure 0.5", "signs of 3DGS"))


def test_plain_splats_are_refused(tmp_path: Path) -> None:
    save_gaussians(tmp_path / "plain.ply", splats().gaussians)
    with pytest.raises(FormatError, match="albedo_0"):
        load_relightable(rewritten(tmp_path / "plain.ply", {"nx": np.ones(7, np.float32)}))


@pytest.mark.parametrize("name", ["nx", "nz", *EXTRA])
def test_incomplete_sets_are_refused(saved: Path, name: str) -> None:
    with pytest.raises(FormatError, match=name):
        load_relightable(rewritten(saved, {name: None}))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("tr_4", np.nan, "not finite"),
        ("tr_4", np.inf, "not finite"),
        ("albedo_1", 1.01, "albedo"),
        ("roughness", -0.01, "roughness"),
        ("metallic", 2.0, "metallic"),
        ("nx", 3.0, "length"),
        ("nx", np.nan, "not finite"),
        ("tr_0", 1e300, "not finite"),
        ("x", np.nan, "means"),
    ],
)
def test_numbers_out_of_range_are_refused(saved: Path, name: str, value: float, text: str) -> None:
    column = read_ply(saved).vertices[name].astype(np.float64)
    column[3] = value
    with pytest.raises(FormatError, match=text):
        load_relightable(rewritten(saved, {name: column}))


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="albedo"):
        save_relightable(tmp_path / "a.ply", replace(splats(), albedo=2 * torch.ones(7, 3)))
    with pytest.raises(FormatError, match="length one"):
        save_relightable(tmp_path / "a.ply", replace(splats(), normals=torch.zeros(7, 3)))
    assert not list(tmp_path.iterdir())


def test_light_is_unknown_without_a_comment(saved: Path) -> None:
    assert load_relightable(rewritten(saved, {}, [])).light == "unknown"
    for wrong in (["light a", "light b"], ["light \xe4"], ["light " + "x" * 300]):
        with pytest.raises(FormatError, match="light"):
            load_relightable(rewritten(saved, {}, wrong))


@pytest.mark.usefixtures("without_shape_checks")  # those are on in tests/formats/test_fuzz.py, and slow
def test_damaged_files_give_one_error(saved: Path) -> None:
    """Damage anywhere, and in the numbers alone: most of a small file is its header."""
    data = saved.read_bytes()
    start = data.index(b"end_header\n") + len(b"end_header\n")

    def read_numbers(body: bytes) -> None:
        parse_relightable(data[:start] + body[: len(data) - start].ljust(len(data) - start, b"\0"))

    for seed, read, n_mutations in ((data, parse_relightable, 300), (data[start:], read_numbers, 100)):
        report = fuzz(Target("relightable PLY", (seed,), read, (FormatError,)), n_mutations)
        assert not report.findings
        assert report.refused > n_mutations // 5 and report.accepted > n_mutations // 30


def test_fields_must_agree() -> None:
    given = splats()
    for name in MATERIAL_FIELDS:
        with pytest.raises(ShapeError, match=name):
            unchecked(RelightableGaussians, **{**vars(given), name: getattr(given, name)[:3]})
    for light in ("", " a", "two\nlines", "a  b", "x" * 201):
        with pytest.raises(UsageError, match="light"):
            replace(given, light=light)


def test_selection_keeps_rows_together() -> None:
    given, rows = splats(), torch.tensor([4, 1])
    for chosen in (given[rows], given.detach()[rows], given.to("cpu")[rows]):
        assert torch.equal(chosen.albedo, given.albedo[rows])
        assert torch.equal(chosen.gaussians.means, given.gaussians.means[rows])
        assert (len(chosen), chosen.light) == (2, given.light)


def test_openness_is_the_share_of_constant_light() -> None:
    given = splats()
    whole = replace(given, transfer=open_transfer(given.normals))
    torch.testing.assert_close(whole.openness, torch.ones(7))
    torch.testing.assert_close(replace(whole, transfer=0.25 * whole.transfer).openness, torch.full((7,), 0.25))
