"""The generator of relight-mini, at the size of a stamp."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from recon3d.formats.exr import read_exr
from recon3d.formats.transforms import read_transforms
from recon3d.render.mesh import Mesh, load_mesh
from recon3d.scene_convert import cameras_from_transforms

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
SIZE, VIEWS = 16, 3


@pytest.fixture(scope="module")
def program() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module("relight_mini")
    finally:
        sys.path.remove(str(FOLDER))


def run(program: ModuleType, datasets: Path, out: Path, *words: str) -> None:
    data = ["--probes", str(datasets / "relight/hdri"), "--spot", str(datasets / "relight/mesh/spot.obj")]
    size = ["--size", str(SIZE), "--samples", "2", "--views", str(VIEWS), "--held-out", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["relight_mini.py", str(out), *data, *size, "--scenes", "bowl", *words])
        program.main()


class Made(NamedTuple):
    out: Path
    said: str


@pytest.fixture(scope="module")
def made(program: ModuleType, datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = tmp_path_factory.mktemp("relight")
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text, **_: lines.append(text))
        run(program, datasets, out)
    return Made(out, "\n".join(lines))


def test_training_cameras_are_two_rings_and_a_top(program: ModuleType) -> None:
    centres = program.training_cameras(40, SIZE).centers
    heights = np.round(centres[:, 2], 6)
    assert [int((heights == height).sum()) for height in np.unique(heights)] == [16, 16, 8]
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), program.DISTANCE)
    apart = np.linalg.norm(centres[:, None] - program.held_out_cameras(8, SIZE).centers, axis=2)
    assert apart.min() > 0.1


def test_captures_are_complete(made: Made) -> None:
    for folder, n in (("train", VIEWS), ("test/venice_sunset_1k", 1), ("test/lebombo_1k", 1)):
        home = made.out / "bowl" / folder
        transforms = read_transforms(home / "transforms.json")
        assert len(transforms.names) == n
        for name in transforms.names:
            assert Image.open(home / name).size == (SIZE, SIZE)
            assert set(read_exr(home / "linear" / f"{Path(name).stem}.exr")) == {"R", "G", "B", "A"}
    assert made.said.count(" s, error ") == VIEWS + 3


def test_gbuffer_lies_on_the_true_surface(made: Made) -> None:
    home = made.out / "bowl/train"
    cameras = cameras_from_transforms(read_transforms(home / "transforms.json"))
    depth = read_exr(home / "depth/001.exr")["Z"]
    normal = np.stack([read_exr(home / "normal/001.exr")[axis] for axis in "XYZ"], -1)
    y, x = np.nonzero(depth)
    rays = np.stack([(x + 0.5 - SIZE / 2), (y + 0.5 - SIZE / 2), np.full(len(x), cameras.K[1, 0, 0])], 1)
    in_cam = rays / cameras.K[1, 0, 0] * depth[y, x, None]
    points = in_cam @ cameras.world_from_cam[1, :3, :3].T + cameras.centers[1]
    parts = [load_mesh(made.out / f"bowl/surface_{index}.ply").vertices for index in range(2)]
    nearest = np.linalg.norm(points[:, None] - np.concatenate(parts), axis=2).min(1)
    assert nearest.max() < 0.03
    np.testing.assert_allclose(np.linalg.norm(normal[y, x], axis=1), 1, atol=1e-3)
    metallic = read_exr(home / "metallic/001.exr")["Y"]
    assert set(np.unique(metallic)) <= {0.0, 1.0}


def test_what_is_there_is_not_rendered_again_and_the_rest_has_the_same_bits(
    made: Made, program: ModuleType, datasets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = made.out / "bowl/train"
    before = (home / "linear/002.exr").read_bytes()
    (home / "done/002.json").unlink()
    run(program, datasets, made.out)
    assert capsys.readouterr().err.count(" s, error ") == 1
    assert (home / "linear/002.exr").read_bytes() == before
    with pytest.raises(SystemExit, match="other settings"):
        run(program, datasets, made.out, "--samples", "3")


def test_meshes_are_closed_and_face_outwards(program: ModuleType) -> None:
    scenes = sys.modules["relight_scenes"]
    parts = [scenes._bowl(), scenes._sphere(0.3, (0.1, 0.0, 0.0)), scenes._torus(0.3, 0.1, (0.0, 0.0, 0.0))]
    for mesh in [*parts, scenes._box((0.1, 0.2, 0.3), (1.0, 0.0, 0.0), 30.0)]:
        assert volume(mesh) > 0
        places = np.unique(np.round(mesh.vertices, 5), axis=0, return_inverse=True)[1].reshape(-1)[mesh.faces]
        edges = np.concatenate([places[:, [0, 1]], places[:, [1, 2]], places[:, [2, 0]]])
        edges = edges[edges[:, 0] != edges[:, 1]]
        there, back = ({tuple(edge) for edge in way.tolist()} for way in (edges, edges[:, ::-1]))
        assert there == back


def volume(mesh: Mesh) -> float:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces].astype(np.float64), 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)
