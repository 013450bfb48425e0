"""Facts of splats that cover a mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from recon3d.core.errors import InputError, UsageError
from recon3d.formats.quaternions import rotation_from_quaternion
from recon3d.render.cameras import Cameras
from recon3d.render.mesh import Mesh
from recon3d.render.raytrace import PathOptions, RenderObject, RenderScene, VertexPbrMaterial, path_trace
from recon3d.render.shading import Environment, linear_from_srgb
from recon3d.render.trajectories import look_at
from recon3d.splats.relight import (
    SurfelOptions,
    TransferOptions,
    load_relightable,
    rasterize_materials,
    save_relightable,
    surfels_of,
)
from tests.support.small_meshes import ball

QUICK = SurfelOptions(transfer=TransferOptions(directions=16))
Y00 = 0.28209479177387814


@dataclass(frozen=True, eq=False)
class Surface:
    """What surfels ask for; grey where nothing is given."""

    mesh: Mesh
    albedo: np.ndarray = field(default=None)  # type: ignore[assignment]
    roughness: np.ndarray = field(default=None)  # type: ignore[assignment]
    metallic: np.ndarray = field(default=None)  # type: ignore[assignment]
    environment: Environment = field(default_factory=lambda: Environment(torch.ones(16, 32, 3)))

    def __post_init__(self) -> None:
        v = len(self.mesh.vertices)
        for name, default in (
            ("albedo", np.full((v, 3), 0.5)),
            ("roughness", np.full(v, 0.6)),
            ("metallic", np.zeros(v)),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default.astype(np.float32))


def lattice(n: int, stretch: float = 1.0) -> Mesh:
    """A sheet of equal triangles of side 1 that faces up, and is stretched along x."""
    row, column = np.mgrid[: n + 1, : n + 1].reshape(2, -1)
    xyz = np.stack([(column + row / 2) * stretch, row * math.sqrt(3) / 2, 0 * row], 1).astype(np.float32)
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
    lower = np.stack([corner, corner + 1, corner + n + 1], 1)
    upper = np.stack([corner + 1, corner + n + 2, corner + n + 1], 1)
    return Mesh(xyz, np.concatenate([lower, upper]).astype(np.int32))


def sphere(rings: int = 40) -> Surface:
    """A ball whose material changes slowly over its surface."""
    vertices, faces = ball(rings, dtype=torch.float32)
    xyz = vertices.numpy()
    albedo = (0.5 + 0.4 * np.sin(3 * xyz)).astype(np.float32)
    return Surface(Mesh(xyz, faces.numpy(), xyz.copy()), albedo, 0.5 + 0.3 * xyz[:, 0], np.clip(xyz[:, 2], 0, 1))


def cameras(size: int = 96) -> Cameras:
    eyes = np.array([[3.0, 0.4, 0.8], [-1.0, 2.5, -1.6]])
    K = np.tile([[1.3 * size, 0, size / 2], [0, 1.3 * size, size / 2], [0, 0, 1.0]], (2, 1, 1))
    sizes = np.full(2, size, np.int64)
    return Cameras(look_at(eyes, np.zeros(3), np.array([0.0, 0.0, 1.0])), K, sizes, sizes.copy())


def test_the_inside_of_a_lattice() -> None:
    """Six triangles of side 1 have the second moment 5/24 about their common corner, in every direction."""
    splats = surfels_of(Surface(lattice(6)), QUICK)
    inside = splats.gaussians[3 * 7 + 3 : 3 * 7 + 4]
    width = QUICK.size * math.sqrt(5 / 24)
    expected = torch.tensor([[width, width, QUICK.thickness * width]])
    torch.testing.assert_close(inside.scales, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(splats.normals, torch.tensor([0.0, 0.0, 1.0]).expand(49, 3))
    torch.testing.assert_close(splats.gaussians.opacities, torch.full((49,), 0.99))


def test_surfels_end_at_open_edges() -> None:
    """The lower edge of the lattice lies at y = 0; one surfel of the next row stays where its vertex is."""
    splats = surfels_of(Surface(lattice(6)), QUICK).gaussians
    torch.testing.assert_close(splats.means[3 * 7 + 3], torch.tensor([4.5, 1.5 * math.sqrt(3), 0.0]))
    edge = splats[3:4]
    axes = torch.from_numpy(rotation_from_quaternion(edge.quats.double().numpy()))[0].float()
    deviation = ((axes[1] * edge.scales[0]) ** 2).sum().sqrt()
    assert edge.means[0, 1] > 0.3
    assert edge.means[0, 1] - 1.2 * deviation > -0.1


def test_surfels_are_as_long_as_the_triangles() -> None:
    splats = surfels_of(Surface(lattice(6, stretch=3.0)), QUICK)
    inside = splats.gaussians[3 * 7 + 3 : 3 * 7 + 4]
    torch.testing.assert_close(inside.scales[0, 1] / inside.scales[0, 0], torch.tensor(3.0), rtol=1e-5, atol=0)
    axes = rotation_from_quaternion(inside.quats.double().numpy())[0]
    np.testing.assert_allclose(np.abs(axes[:, 1]), [1, 0, 0], atol=1e-6)


def test_axes_are_right_handed_and_the_last_one_is_the_normal() -> None:
    splats = surfels_of(sphere(8), QUICK)
    axes = rotation_from_quaternion(splats.gaussians.quats.double().numpy())
    np.testing.assert_allclose(axes[:, :, 2], splats.normals.numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-9)
    assert (splats.gaussians.scales[:, 2] < 0.06 * splats.gaussians.scales[:, 0]).all()


@pytest.mark.parametrize("antialiased", [False, True])
def test_surfels_show_what_the_mesh_shows(antialiased: bool) -> None:
    surface, views = sphere(), cameras()
    values = np.concatenate([surface.albedo, surface.roughness[:, None], surface.metallic[:, None]], 1)
    shown = RenderScene((RenderObject(surface.mesh, VertexPbrMaterial(), attributes=values),))
    truth = path_trace(shown, views, PathOptions(spp=1, max_depth=1, pixel_filter="center", background="black")).gbuffer
    got = rasterize_materials(surfels_of(surface, QUICK), views, antialiased=antialiased)
    seen, alpha = truth.owner >= 0, got.alpha.numpy()
    inside = np.stack([binary_erosion(each, iterations=2) for each in seen])
    beside = ~np.stack([binary_dilation(each, iterations=2) for each in seen])
    assert alpha[inside].min() > 0.97
    assert alpha[beside].max() < 0.5
    assert abs((alpha > 0.5).sum() / seen.sum() - 1) < 0.07  # half a pixel along the silhouette
    for name in ("albedo", "roughness", "metallic"):  # a surfel in front hides half of the next
        assert np.abs(getattr(got, name).numpy() - getattr(truth, name))[inside].mean() < 0.025
    assert (got.normal.numpy() * truth.normal).sum(-1)[inside].mean() > math.cos(math.radians(3))


def test_shadows_come_from_the_mesh() -> None:
    roofed = lattice(4)
    roof = Mesh(roofed.vertices + np.float32([0, 0, 0.5]), roofed.faces)
    both = Mesh(np.concatenate([roofed.vertices, roof.vertices]), np.concatenate([roofed.faces, roof.faces + 25]))
    openness = surfels_of(Surface(both), QUICK).openness
    assert openness[12] < 0.15  # the middle of the floor
    torch.testing.assert_close(openness[25:], torch.ones(25))


def test_colours_are_those_under_the_light(tmp_path: Path) -> None:
    """Under light of 1 from everywhere, rough grey shows its albedo and at most the 4 % that all surfaces reflect."""
    splats = surfels_of(Surface(lattice(2)), QUICK)
    colour = linear_from_srgb(splats.gaussians.sh[:, 0] * Y00 + 0.5)
    assert ((colour > 0.5) & (colour < 0.55)).all()
    save_relightable(tmp_path / "s.ply", splats)
    assert load_relightable(tmp_path / "s.ply").light == "the light of the photos, as estimated"


def test_what_no_face_uses_is_left_out() -> None:
    mesh = lattice(2)
    far = np.float32([[9, 9, 9], [8, 8, 8]])
    line = np.array([[9, 10, 10]], np.int32)
    more = Mesh(np.concatenate([mesh.vertices, far]), np.concatenate([mesh.faces, line]))
    expected = surfels_of(Surface(mesh), QUICK).gaussians
    torch.testing.assert_close(surfels_of(Surface(more), QUICK).gaussians.means, expected.means)
    with pytest.raises(InputError, match="without area"):
        surfels_of(Surface(Mesh(more.vertices, line)), QUICK)


def test_slivers_and_wrong_normals() -> None:
    """A sliver becomes a disc of bounded slimness; a normal of length zero is taken from the faces."""
    corners = np.float32([[0, 0, 0], [1, 0, 0], [0.5, 1e-7, 0]])
    sliver = Mesh(corners, np.array([[0, 1, 2]], np.int32), np.float32([[0, 0, 2], [0, 0, 0], [0, 0, 1]]))
    splats = surfels_of(Surface(sliver), QUICK)
    assert torch.isfinite(splats.gaussians.log_scales).all()
    ratio = splats.gaussians.scales[:, 0] / splats.gaussians.scales[:, 1]
    torch.testing.assert_close(ratio, torch.full((3,), 0.2), rtol=1e-4, atol=0)
    torch.testing.assert_close(splats.normals, torch.tensor([0.0, 0.0, 1.0]).expand(3, 3))


def test_wrong_options_and_vertices() -> None:
    for wrong in ({"size": 0.0}, {"thickness": 2.0}, {"opacity": 1.0}, {"size": math.inf}):
        with pytest.raises(UsageError, match="out of range"):
            SurfelOptions(**wrong)
    mesh = lattice(1)
    mesh.vertices[0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        surfels_of(Surface(mesh), QUICK)
