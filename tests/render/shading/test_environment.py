"""Environments: which pixel looks where, rotations, files, other programs' conventions, and what is refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recon3d.core.errors import FormatError, InputError, ResourceError, ShapeError, UsageError
from recon3d.formats.exr import write_exr
from recon3d.formats.hdr import write_hdr
from recon3d.render.shading import (
    Environment,
    environment_files,
    environment_from_blender,
    environment_from_mitsuba,
    environment_from_nvdiffrec,
    environment_from_three,
    environment_to_blender,
    environment_to_mitsuba,
    environment_to_nvdiffrec,
    environment_to_three,
    load_environment,
    save_environment,
)

AXES = {"+x": (1, 0, 0), "-x": (-1, 0, 0), "+y": (0, 1, 0), "-y": (0, -1, 0)}


def random_env(height: int = 16, width: int = 32, seed: int = 0) -> Environment:
    source = torch.Generator().manual_seed(seed)
    return Environment(torch.rand(height, width, 3, generator=source, dtype=torch.float64))


def unit(n: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, 3, generator=source, dtype=torch.float64), dim=-1)


def bright_pixel(row: int, column: int, height: int = 32, width: int = 64) -> Tensor:
    image = torch.zeros(height, width, 3)
    image[row, column] = 1000.0
    return image


def brightest(env: Environment) -> Tensor:
    """The world direction of the brightest pixel."""
    index = int(env.radiance.sum(-1).argmax())
    return env.directions().reshape(-1, 3)[index] @ env.rotation.mT


def test_the_centre_is_x_and_a_quarter_from_the_left_is_y() -> None:
    d = random_env(64, 128).directions()
    assert float(d[31:33, 63:65].mean((0, 1))[0]) > 0.999
    assert float(d[31:33, 31:33].mean((0, 1))[1]) > 0.999
    assert float(d[0, :, 2].min()) > 0.999 and float(d[-1, :, 2].max()) < -0.999


def test_solid_angles_sum_to_the_sphere() -> None:
    assert float(random_env(7, 12).solid_angles().sum()) == pytest.approx(4 * math.pi)


def test_lookup_at_pixel_centres_between_them_and_across_the_seam() -> None:
    env = random_env().rotated_z(77)
    world = env.directions() @ env.rotation.mT
    torch.testing.assert_close(env.lookup(world), env.radiance)
    seam = env.lookup(torch.tensor([math.cos(math.pi), 0.0, 0.0], dtype=torch.float64)[None] @ env.rotation.mT)
    torch.testing.assert_close(seam[0], env.radiance[7:9, [0, -1]].mean((0, 1)))
    halves = env.lookup(world * torch.rand(16, 32, 1).double().add(0.1))
    torch.testing.assert_close(halves, env.radiance)


def test_lookup_at_the_poles_is_finite_with_its_gradient() -> None:
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], requires_grad=True)
    env = random_env().to(torch.float32)
    env.lookup(poles).sum().backward()
    assert poles.grad is not None and bool(poles.grad.isfinite().all())


def test_gradients_of_lookup() -> None:
    directions = unit(5).requires_grad_()
    radiance = random_env(6, 12).radiance.requires_grad_()
    assert torch.autograd.gradcheck(lambda r, d: Environment(r).lookup(d), (radiance, directions))


def test_turning_the_light_and_the_direction_changes_nothing() -> None:
    env, directions = random_env(), unit(50)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())[0]
    turn = turn * torch.linalg.det(turn)
    torch.testing.assert_close(env.rotated(turn).lookup(directions @ turn.mT), env.lookup(directions))
    torch.testing.assert_close(env.rotated_z(360).lookup(directions), env.lookup(directions))
    by_y = env.rotated_z(90).lookup(torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(by_y, env.lookup(torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)))


CENTRES: list[tuple[str, Callable[[Tensor], Environment], str, str]] = [
    ("blender", environment_from_blender, "+x", "-y"),
    ("three", environment_from_three, "+x", "-y"),
    ("nvdiffrec", environment_from_nvdiffrec, "+y", "+x"),
    ("mitsuba", environment_from_mitsuba, "-y", "-x"),
]


@pytest.mark.parametrize(("name", "convert", "centre", "right"), CENTRES, ids=[case[0] for case in CENTRES])
def test_one_bright_pixel(name: str, convert: Callable[[Tensor], Environment], centre: str, right: str) -> None:
    """At the centre, three quarters from the left, and near the top, from the formulas of the other programs."""
    for column, axis in ((32, centre), (48, right)):
        seen = brightest(convert(bright_pixel(16, column)))
        assert float(seen @ torch.tensor(AXES[axis], dtype=seen.dtype)) > 0.99
    assert float(brightest(convert(bright_pixel(1, 5)))[2]) > 0.95


FORMULAS: dict[str, Callable[[float, float, float], float]] = {  # u of a direction, each in its own axes
    "blender": lambda x, y, z: 0.5 - math.atan2(y, x) / (2 * math.pi),
    "three": lambda x, y, z: 0.5 + math.atan2(z, x) / (2 * math.pi),
    "nvdiffrec": lambda x, y, z: 0.5 + math.atan2(x, -z) / (2 * math.pi),
    "mitsuba": lambda x, y, z: math.atan2(x, -z) / (2 * math.pi) % 1,
}
CONVERTERS = {
    "blender": (environment_from_blender, environment_to_blender),
    "three": (environment_from_three, environment_to_three),
    "nvdiffrec": (environment_from_nvdiffrec, environment_to_nvdiffrec),
    "mitsuba": (environment_from_mitsuba, environment_to_mitsuba),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_published_formula_finds_the_pixel(name: str) -> None:
    """A direction of the other program's world, turned into ours, sees the pixel at the u of its formula."""
    convert, _ = CONVERTERS[name]
    for direction in unit(40).tolist():
        x, y, z = direction
        up = z if name == "blender" else y
        if abs(up) > 0.8:
            continue
        u, v = FORMULAS[name](x, y, z), math.acos(up) / math.pi
        row = round(v * 31) if name == "mitsuba" else int(v * 32)
        image = bright_pixel(row, int(u * 64) % 64)
        ours = torch.tensor(direction if name == "blender" else [x, -z, y])
        assert float(brightest(convert(image)) @ ours) > math.cos(0.15)


@pytest.mark.parametrize("name", CONVERTERS)
def test_there_and_back(name: str) -> None:
    convert, back = CONVERTERS[name]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    image = (2 + torch.cos(math.pi * (y + 0.5) / 32) + torch.sin(2 * math.pi * x / 64))[..., None].expand(-1, -1, 3)
    env = convert(image.contiguous())
    torch.testing.assert_close(back(env), image, atol=0.02 if name == "mitsuba" else 0.0, rtol=0)
    turned = convert(back(env.rotated_z(37)))
    directions = unit(60).float()
    torch.testing.assert_close(turned.lookup(directions), env.rotated_z(37).lookup(directions), atol=0.06, rtol=0)


@pytest.mark.parametrize("suffix", [".hdr", ".exr"])
def test_files_keep_the_light(tmp_path: Path, suffix: str) -> None:
    env = random_env().to(torch.float32)
    save_environment(env, tmp_path / f"a{suffix}")
    back = load_environment(tmp_path / f"a{suffix}")
    assert bool(((back.radiance - env.radiance).abs() <= (0 if suffix == ".exr" else 1 / 128)).all())
    turned = env.rotated_z(360 / 32 * 5)
    save_environment(turned, tmp_path / f"b{suffix}")
    d = unit(30).float()
    torch.testing.assert_close(load_environment(tmp_path / f"b{suffix}").lookup(d), turned.lookup(d), atol=0.01, rtol=0)


def test_grey_files_and_other_channels(tmp_path: Path) -> None:
    grey = np.arange(8, dtype=np.float32).reshape(2, 4)
    write_exr(tmp_path / "y.exr", {"Y": grey, "A": grey})
    assert load_environment(tmp_path / "y.exr").radiance.tolist() == np.repeat(grey[..., None], 3, 2).tolist()
    write_exr(tmp_path / "z.exr", {"Z": grey})
    with pytest.raises(FormatError, match=r"z.exr holds no RGB; got: Z; expected: channels R, G, B or Y"):
        load_environment(tmp_path / "z.exr")


def spoiled(path: Path) -> None:
    red = np.ones((4, 8), np.float32)
    red[0, 0], red[1, 1], red[2, 2], red[3, 3] = -1, np.nan, np.inf, 7
    write_exr(path, {"R": red, "G": np.ones_like(red), "B": np.ones_like(red)})


def test_what_is_no_radiance_is_refused_or_repaired(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spoiled(tmp_path / "a.exr")
    with pytest.raises(
        InputError, match=r"a.exr holds values that are no radiance; got: 1 negative, 1 infinite, 1 NaN"
    ):
        load_environment(tmp_path / "a.exr")
    with caplog.at_level(logging.WARNING):
        red = load_environment(tmp_path / "a.exr", repair=True).radiance[..., 0]
    assert "repaired 1 negative, 1 infinite, 1 NaN values" in caplog.text
    assert [float(red[i, i]) for i in range(4)] == [0, 0, 7, 7]


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_environments_hold_radiance(value: float) -> None:
    radiance = torch.ones(2, 4, 3)
    radiance[1, 1, 1] = value
    with pytest.raises(InputError, match="radiance must be finite and not negative"):
        Environment(radiance)


def test_a_rotation_is_a_rotation() -> None:
    for matrix in (torch.eye(3) * 2, -torch.eye(3)):
        with pytest.raises(InputError, match="no rotation"):
            Environment(torch.ones(2, 4, 3), matrix)


@pytest.mark.usefixtures("without_shape_checks")
def test_shapes() -> None:
    with pytest.raises(ShapeError, match="an environment is an image"):
        Environment(torch.ones(4, 3))
    with pytest.raises(ShapeError, match="a rotation is a matrix"):
        Environment(torch.ones(2, 4, 3), torch.eye(2))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_environment(tmp_path / "absent.hdr")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(FormatError, match=r"a.png is no environment; got: .png; expected: .hdr or .exr"):
        load_environment(tmp_path / "a.png")
    for suffix in (".hdr", ".exr"):
        save_environment(random_env().to(torch.float32), tmp_path / f"whole{suffix}")
        data = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        with pytest.raises(FormatError, match=f"cut{suffix}"):
            load_environment(tmp_path / f"cut{suffix}")
    with pytest.raises(UsageError, match="cannot write"):
        save_environment(random_env(), tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".hdr", ".exr"])
def test_larger_than_memory(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is decoded, from the size that the header declares; and where the file itself is too large."""
    path = tmp_path / f"huge{suffix}"
    save_environment(random_env(64, 128).to(torch.float32), path)
    for memory in (200_000, 1000):
        monkeypatch.setattr(environment_files, "available_memory_bytes", lambda value=memory: value)
        with pytest.raises(ResourceError, match=f"huge{suffix} does not fit into memory"):
            load_environment(path)


def test_a_header_that_lies_about_its_size(tmp_path: Path) -> None:
    write_hdr(tmp_path / "a.hdr", np.ones((2, 8, 3), np.float32))
    data = (tmp_path / "a.hdr").read_bytes().replace(b"-Y 2 +X 8", b"-Y 99999 +X 99999")
    (tmp_path / "a.hdr").write_bytes(data)
    with pytest.raises((ResourceError, FormatError), match=r"a.hdr"):
        load_environment(tmp_path / "a.hdr")
