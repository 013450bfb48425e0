"""What gradients are for: a pose, a displacement and a texture are recovered from images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from small_meshes import ball, grid
from torch import Tensor

from recon3d.render.gaussians.cameras import CameraTensors
from recon3d.render.mesh import (
    Texture,
    antialias,
    interpolate,
    interpolate_corners,
    opposite_vertices,
    rasterize_mesh,
    uv_footprint,
)

SIZE = 48


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors of this size are not worth a second thread, which would wait for its core on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


K = torch.tensor([[60.0, 0, SIZE / 2], [0, 60.0, SIZE / 2], [0, 0, 1]])


def around(n: int, distance: float = 3.0) -> CameraTensors:
    """Cameras on a circle around the origin that look at it."""
    poses = torch.eye(4).repeat(n, 1, 1)
    for index in range(n):
        angle = 2 * math.pi * index / n
        c, s = math.cos(angle), math.sin(angle)
        poses[index, :3, :3] = torch.tensor([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])
        poses[index, 2, 3] = distance
    return CameraTensors(poses, K.repeat(n, 1, 1), SIZE, SIZE)


def render(vertices: Tensor, faces: Tensor, colours: Tensor, cameras: CameraTensors, edges: Tensor) -> Tensor:
    seen = rasterize_mesh(vertices, faces, cameras)
    return antialias(interpolate(colours, faces, seen), seen, vertices, faces, cameras, opposite=edges)


def optimise(leaves: list[Tensor], loss: Callable[[], Tensor], rate: float, steps: int) -> None:
    optimiser = torch.optim.Adam(leaves, rate, betas=(0.8, 0.95))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.02 ** (1 / steps))
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()


def turned(vector: Tensor) -> Tensor:
    """The rotation by a rotation vector."""
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    return torch.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3))


def test_a_pose_is_recovered_from_one_image() -> None:
    """A box of one colour per vertex: turned by 17 degrees and shifted by a tenth of the distance."""
    corners = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.3, 0.3) for z in (-0.4, 0.4)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = torch.tensor([[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)], dtype=torch.int32)
    colours = torch.rand(8, 3, generator=torch.Generator().manual_seed(2))
    edges, K_ = opposite_vertices(faces, 8), K[None]

    def seen(rotation: Tensor, shift: Tensor) -> Tensor:
        pose = torch.cat([torch.cat([turned(rotation), shift[:, None]], 1), torch.tensor([[0.0, 0, 0, 1]])])
        return render(corners, faces, colours, CameraTensors(pose[None], K_, SIZE, SIZE), edges)

    truth = torch.tensor([0.5, -0.7, 0.2]), torch.tensor([0.05, -0.1, 2.2])
    with torch.no_grad():
        photo = seen(*truth)
    rotation = (truth[0] + torch.tensor([0.15, 0.2, -0.15])).requires_grad_()
    shift = (truth[1] + torch.tensor([0.12, 0.1, 0.2])).requires_grad_()
    optimise([rotation, shift], lambda: (seen(rotation, shift) - photo).square().mean(), 0.04, 60)
    assert (rotation.detach() - truth[0]).norm() < 0.01
    assert (shift.detach() - truth[1]).norm() < 0.01


def test_a_displacement_is_recovered_from_silhouettes_alone() -> None:
    """A white ball in front of black becomes an egg: only the outlines say so."""
    start, faces = ball(6, dtype=torch.float32)
    start = start[:, [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0])  # poles up and down in the pictures
    edges, cameras, white = opposite_vertices(faces, len(start)), around(4), torch.ones(len(start), 1)
    true = start * torch.tensor([0.7, 0.9, 0.6]) * (1 + 0.2 * start[:, 1:2])
    with torch.no_grad():
        photos = render(true, faces, white, cameras, edges)
    heights = torch.zeros(len(start), 1, requires_grad=True)
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()

    def loss() -> Tensor:
        rough = (heights[pairs[:, 0]] - heights[pairs[:, 1]]).square().mean()
        return (render(start * (1 + heights), faces, white, cameras, edges) - photos).square().mean() + 0.02 * rough

    with torch.no_grad():
        before = (render(start, faces, white, cameras, edges) - photos).square().mean()
    optimise([heights], loss, 0.05, 60)
    with torch.no_grad():
        after = (render(start * (1 + heights), faces, white, cameras, edges) - photos).square().mean()
        volume = [float((v[faces.long()].det()).sum() / 6) for v in (start, start * (1 + heights), true)]
    assert after < 0.05 * before
    assert abs(volume[1] / volume[2] - 1) < 0.12 and volume[0] / volume[2] > 2


def test_a_texture_is_recovered_from_images() -> None:
    """A sheet seen from four places near and far: the texture behind the mips."""
    vertices, faces = grid(4, 0.8, 0, torch.float32)
    uvs = (vertices[:, :2] / 2 + 0.5)[faces.long()]
    vertices = vertices - torch.tensor([0.0, 0.0, 2.0])
    cameras = around(4, 2.3)
    poses = cameras.cam_from_world.clone()
    for index, (x, y, z) in enumerate([(0.4, 0.4, 1.6), (-0.4, 0.4, 1.6), (0.4, -0.4, 1.6), (-0.4, -0.4, 1.6)]):
        poses[index, :3, :3], poses[index, :3, 3] = torch.eye(3), torch.tensor([x, y, z])
    cameras = CameraTensors(poses, cameras.K, SIZE, SIZE)
    truth = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0))
    seen = rasterize_mesh(vertices, faces, cameras)
    where, footprint = interpolate_corners(uvs, seen), uv_footprint(uvs, seen, vertices, faces, cameras)
    photos = Texture.of(truth, wrap="clamp").sample(where, footprint)
    image = torch.full_like(truth, 0.5).requires_grad_()

    def loss() -> Tensor:
        return (Texture.of(image, wrap="clamp").sample(where, footprint) - photos)[seen.mask].square().mean()

    optimise([image], loss, 0.1, 60)
    assert (image.detach() - truth).abs().mean() < 0.02
