"""The readers that are fuzzed, with valid files made in memory."""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from cloud_targets import cloud_targets
from fuzzing import Target
from PIL import Image
from piz_files import piz_block, piz_file
from random_scenes import random_scene

from recon3d.core.errors import FormatError, InputError
from recon3d.formats.colmap import read_colmap, write_colmap
from recon3d.formats.exr import parse_exr, write_exr
from recon3d.formats.exr_piz import unpack_piz
from recon3d.formats.glb import MeshArrays, parse_glb, write_glb
from recon3d.formats.hdr import encode_rgbe, parse_hdr, write_hdr
from recon3d.formats.ply import parse_ply, write_ply
from recon3d.formats.splat_ply import SplatArrays, parse_splat_ply, write_splat_ply
from recon3d.formats.spz import parse_spz, write_spz
from recon3d.formats.transforms import parse_transforms
from recon3d.formats.tum import parse_tum
from recon3d.render.mesh.files import load_mesh, save_mesh
from recon3d.render.mesh.types import Mesh
from recon3d.scene import Scene
from recon3d.scene_convert import cameras_from_colmap, cameras_from_transforms, points_from_colmap

MAX_PIXELS = 1_000_000


def all_targets(folder: Path) -> tuple[Target, ...]:
    """Return every target; readers of paths work inside ``folder``."""
    clouds = cloud_targets(Path(tempfile.mkdtemp(dir=folder)))
    splats, truth, photos = splat_targets(folder), truth_targets(folder), photo_targets(folder)
    return (*format_targets(folder), *clouds, *splats, *truth, *photos)


def format_targets(folder: Path) -> tuple[Target, ...]:
    """Return the targets of recon3d.formats and of the scene folder."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    scene = random_scene(0, 3, 12).save(folder / "scene")
    return (
        _ply_target(folder),
        *_splat_targets(folder),
        *_exr_targets(folder),
        _hdr_target(folder),
        *_mesh_targets(folder),
        Target("transforms.json", _transforms_seeds(folder), _read_transforms, (FormatError,)),
        Target("trajectory.tum", ((folder / "scene/trajectory.tum").read_bytes(),), parse_tum, (FormatError,)),
        *_colmap_targets(folder, scene),
        _file_target("scene.json", folder / "scene/scene.json", lambda path: Scene.load(path.parent), (FormatError,)),
    )


def _ply_target(folder: Path) -> Target:
    triangles = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    table = np.random.default_rng(0).normal(size=(62, 9)).astype(np.float32)
    write_ply(folder / "splats.ply", {f"p_{i}": column for i, column in enumerate(table)}, triangles)
    write_ply(folder / "mesh.ply", {"x": np.arange(4.0), "red": np.arange(4, dtype=np.uint8)}, triangles)
    little = (folder / "mesh.ply").read_bytes()
    header = b"ply\nformat %s 1.0\nelement vertex 3\nproperty float x\nproperty int n\nelement face 2\n"
    header += b"property list uchar ushort vertex_indices\nproperty uchar part\nend_header\n"
    text = header % b"ascii" + b"0.5 1\n-2e3 2\nnan 3\n3 0 1 2 7\n3 2 1 0 8\n"
    vertices = np.array([(0.5, 1), (2, 2), (3, 3)], ">f4,>i4").tobytes()
    big = header % b"binary_big_endian" + vertices + b"\3\0\0\0\1\0\2\7" + b"\3\0\2\0\1\0\0\1"
    seeds = (little, (folder / "splats.ply").read_bytes(), text, big)
    return Target("PLY", seeds, _read_ply, (FormatError,))


def _read_ply(data: bytes) -> None:
    parse_ply(data).triangles()


def _splat_targets(folder: Path) -> list[Target]:
    """Splat PLY and SPZ; the bytes inside gzip are damaged on their own, too, or little but gzip would be tried."""
    generator = np.random.default_rng(0)
    ply, packed = [], []
    for k in (1, 4, 9):
        fields = [generator.normal(size=(7, *shape)).astype(np.float32) for shape in ((3,), (4,), (3,), (), (k, 3))]
        write_splat_ply(folder / "a.ply", SplatArrays(*fields))
        write_spz(folder / "a.spz", SplatArrays(*fields))
        ply.append((folder / "a.ply").read_bytes())
        packed.append((folder / "a.spz").read_bytes())
    inside = [gzip.decompress(data) for data in packed]
    second = inside[0][:4] + b"\2" + inside[0][5:-7]  # version 2: a byte less per rotation
    packed.append(gzip.compress(second))
    return [
        Target("splat PLY", tuple(ply), parse_splat_ply, (FormatError,)),
        Target("SPZ", tuple(packed), parse_spz, (FormatError,)),
        Target("SPZ inside", (*inside, second), lambda data: parse_spz(gzip.compress(data, 1)), (FormatError,)),
    ]


def _exr_targets(folder: Path) -> list[Target]:
    """Whole files, and the bytes of one ZIP block and of one RLE block."""
    rows = np.repeat(np.arange(40, dtype=np.float32)[:, None], 9, 1)
    write_exr(folder / "a.exr", {"Z": rows, "Y": rows * 2})
    data = (folder / "a.exr").read_bytes()
    write_exr(folder / "b.exr", {"Z": np.ones((16, 9), np.float32)})
    one = (folder / "b.exr").read_bytes()
    end = one.index(b"screenWindowWidth\0") + 33  # of the header; one offset and one block follow
    raw = zlib.decompress(one[end + 16 :])
    rle = one[:end].replace(b"\1\0\0\0\3", b"\1\0\0\0\1").replace(b"\x0f\0\0\0", bytes(4))

    def block(head: bytes, content: bytes) -> bytes:
        return head + struct.pack("<Qii", len(head) + 8, 0, len(content)) + content

    def read_zip(content: bytes) -> None:
        parse_exr(block(one[:end], zlib.compress(content, 1)))

    def read_rle(content: bytes) -> None:
        parse_exr(block(rle, content))

    smooth = (np.add.outer(np.arange(32), np.arange(20)) // 3).astype(np.float16)
    piz = piz_file({"A": smooth, "Z": np.float32(smooth)})

    return [
        Target("EXR PIZ", (piz,), parse_exr, (FormatError,)),
        Target("EXR PIZ block", (piz_block([smooth]),), _read_piz, (ValueError,)),
        Target("EXR", (data, one), parse_exr, (FormatError,)),
        Target("EXR inside", (raw,), read_zip, (FormatError,)),
        Target("EXR runs", (b"\x22" + raw[:1] + b"\xff\x80",), read_rle, (FormatError,)),
    ]


def _read_piz(data: bytes) -> None:
    unpack_piz(data, 32, 20, [1])


def _hdr_target(folder: Path) -> Target:
    """Radiance files in the run lengths of today, in the old ones, and flat."""
    rgb = np.repeat(np.random.default_rng(0).random((6, 5, 3)), 3, 1).astype(np.float32)
    write_hdr(folder / "a.hdr", rgb)
    packed = (folder / "a.hdr").read_bytes()
    header = packed[: packed.index(b"-Y")]
    pixels = encode_rgbe(rgb)[:2, :4]
    flat = header + b"+X 4 -Y 2\n" + pixels.tobytes()
    old = header + b"-Y 1 +X 261\n" + pixels[0].tobytes() + b"\1\1\1\1" * 2
    return Target("HDR", (packed, flat, old), parse_hdr, (FormatError,))


def _mesh_targets(folder: Path) -> list[Target]:
    """GLB from the writer and with transforms and small indices, and mesh PLY."""
    vertices = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    faces = np.array([[0, 1, 2], [2, 3, 4]], np.int32)
    rgb = np.arange(15, dtype=np.uint8).reshape(5, 3)
    write_glb(folder / "a.glb", MeshArrays(vertices, faces, vertices, rgb))
    write_glb(folder / "b.glb", MeshArrays(vertices, faces))
    save_mesh(folder / "colours.ply", Mesh(vertices, faces, vertices, rgb))
    glb = tuple((folder / name).read_bytes() for name in ("a.glb", "b.glb"))
    glb = (*glb, _glb_with_nodes(glb[0]))
    tree = json.dumps(_glb_tree(glb[2])).encode()
    binary = glb[2][20 + int.from_bytes(glb[2][12:16], "little") :]
    return [
        Target("GLB", glb, parse_glb, (FormatError,)),
        Target("GLB tree", (tree,), lambda data: parse_glb(_glb(data, binary)), (FormatError,)),
        _file_target("mesh PLY", folder / "colours.ply", load_mesh, (FormatError,)),
        *_obj_targets(folder),
    ]


def _obj_targets(folder: Path) -> list[Target]:
    """OBJ of all kinds of corners, and its material file with a texture and one that is not there."""
    corners = "f 1/1/1 2/2/1 3/3/1\nf -1//1 2//1 3//1 1//1\nf 1 2 4\n"
    numbers = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1 0.5\nvt 0 0\nvt 1 0\nvt 0.5 1\nvn 0 0 1\n"
    path, library = folder / "a.obj", folder / "a.mtl"
    path.write_text(f"# made by hand\nmtllib a.mtl\n{numbers}usemtl grey\n{corners}")
    Image.new("RGB", (3, 2), (10, 200, 30)).save(folder / "a.png")
    library.write_text("newmtl grey\nKd 0.5 0.5 0.5\nNs 20\nPm 0.3\nmap_Kd -s 1 1 1 a.png\nmap_Bump a.png\n")
    shape = folder / "shape.obj"
    shape.write_text(numbers + corners)
    return [
        _file_target("OBJ", shape, load_mesh, (FormatError,)),
        _file_target("OBJ with material", path, load_mesh, (FormatError, InputError)),
        _file_target("MTL", library, lambda _: load_mesh(path), (FormatError, InputError)),
    ]


def _glb_tree(data: bytes) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    return tree


def _glb(tree: bytes, chunks: bytes) -> bytes:
    tree += b" " * (-len(tree) % 4)
    return (
        b"glTF"
        + struct.pack("<II", 2, 20 + len(tree) + len(chunks))
        + struct.pack("<I", len(tree))
        + b"JSON"
        + tree
        + chunks
    )


def _glb_with_nodes(data: bytes) -> bytes:
    tree = _glb_tree(data)
    turn = {"rotation": [0.6, 0, 0, 0.8], "translation": [1, 2, 3], "scale": [1, -2, 3]}
    tree["nodes"] = [{"children": [1, 2], **turn}, {"mesh": 0}, {"mesh": 0, "matrix": np.eye(4).reshape(-1).tolist()}]
    tree["accessors"][0] |= {"componentType": 5121, "count": 6}
    return _glb(json.dumps(tree).encode(), data[20 + int.from_bytes(data[12:16], "little") :])


def _transforms_seeds(folder: Path) -> tuple[bytes, ...]:
    ours = (folder / "scene/transforms.json").read_bytes()
    frame = {"file_path": "a.jpg", "transform_matrix": np.eye(4).tolist()}
    top = {"w": 64, "h": 48, "camera_angle_x": 1.1, "k1": 0.1, "applied_transform": np.eye(4)[:3].tolist()}
    return ours, json.dumps({"frames": [frame, frame], **top}).encode()


def _read_transforms(data: bytes) -> None:
    cameras_from_transforms(parse_transforms(data))


def _colmap_targets(folder: Path, scene: Scene) -> list[Target]:
    targets = []
    for suffix in ("bin", "txt"):
        path = folder / f"colmap_{suffix}"
        model = read_colmap(folder / "scene/colmap_distorted")
        plain = tuple(replace(image, name=image.name.replace(" ", "_")) for image in model.images)
        write_colmap(path, replace(model, images=plain), suffix == "bin")
        for part in ("cameras", "images", "points3D"):
            name = f"{part}.{suffix}"
            targets.append(_file_target(f"COLMAP {name}", path / name, _read_colmap, (FormatError,)))
    return targets


def _read_colmap(path: Path) -> None:
    model = read_colmap(path.parent)
    points_from_colmap(model)
    cameras_from_colmap(model)


def _file_target(name: str, path: Path, read: Callable[[Path], object], allowed: tuple[type[Exception], ...]) -> Target:
    """A reader of paths: each damaged file takes the place of ``path``."""

    def read_bytes(data: bytes) -> None:
        path.write_bytes(data)
        read(path)

    return Target(name, (path.read_bytes(),), read_bytes, allowed)


def splat_targets(folder: Path) -> tuple[Target, ...]:
    """Return the target of recon3d.splats: PLY of relightable splats, in both colour spaces and with higher degrees."""
    import torch

    from recon3d.render.gaussians import Gaussians
    from recon3d.splats.relight import RelightableGaussians, open_transfer, parse_relightable, save_relightable

    path, seeds = Path(tempfile.mkdtemp(dir=folder)) / "relightable.ply", []
    source = torch.Generator().manual_seed(0)
    for k, space in ((1, "srgb"), (4, "linear")):
        means, quats, scales, opacity, sh, normals = (
            torch.randn(7, *shape, generator=source) for shape in ((3,), (4,), (3,), (), (k, 3), (3,))
        )
        normals, shares = torch.nn.functional.normalize(normals, dim=-1), torch.rand(7, 5, generator=source)
        plain = Gaussians(means, quats, scales, opacity, sh, colour_space=space)
        material = (shares[:, :3], shares[:, 3], shares[:, 4])
        splats = RelightableGaussians(plain, normals, *material, open_transfer(normals), light="studio")
        save_relightable(path, splats)
        seeds.append(path.read_bytes())
    return (Target("relightable PLY", tuple(seeds), parse_relightable, (FormatError,)),)


def truth_targets(folder: Path) -> tuple[Target, ...]:
    """Return the targets of recon3d.evaluation: ground truth and subsets as JSON."""
    from recon3d.evaluation.truth import read_subsets, read_truth

    folder = Path(tempfile.mkdtemp(dir=folder))
    lens = {"width": 64, "height": 48, "K": [[50, 0, 32], [0, 50, 24], [0, 0, 1]], "dist": [0.1, 0, 0, 0]}
    images = [{"name": f"{i}.jpg", **lens, "w2c": np.eye(4)[:3].tolist()} for i in range(2)]
    images.append({"name": "x.jpg", **lens, "K": None, "w2c": None, "outlier": True})
    truth = {"set": "made", "unit": "metre", "gt_kind": "exact", "convention": "w2c", "images": images}
    (folder / "cameras.json").write_text(json.dumps(truth))
    (folder / "subsets.json").write_text(json.dumps({"few": ["0.jpg"], "all": ["0.jpg", "1.jpg"]}))
    readers = {"cameras.json": read_truth, "subsets.json": read_subsets}
    return tuple(_file_target(name, folder / name, read, (InputError,)) for name, read in readers.items())


def photo_targets(folder: Path) -> tuple[Target, ...]:
    """Return the targets of recon3d.photos: one per image format that this environment can encode, masks and videos."""
    from recon3d.photos.check import check_photo
    from recon3d.photos.decode import read_mask, read_upright

    folder = Path(tempfile.mkdtemp(dir=folder))
    read = partial(read_upright, max_pixels=MAX_PIXELS)
    paths = _write_pictures(folder)
    targets = [_file_target(f"photo {name}", path, read, (InputError,)) for name, path in paths.items()]

    def check(path: Path) -> None:
        check_photo(str(path), path.name, str(folder / "work"), MAX_PIXELS, None)

    targets += [_file_target(f"checked {name}", paths[name], check, ()) for name in ("JPEG", "TIFF")]
    read = partial(read_mask, width=48, height=32)
    targets.append(_file_target("mask PNG", folder / "mask.png", read, (InputError,)))
    if find_spec("av") is not None:
        targets.append(_file_target("video MP4", _write_video(folder), _read_video, (InputError,)))
    return tuple(replace(target, memory_bytes=64 << 20) for target in targets)


def _write_pictures(folder: Path) -> dict[str, Path]:
    from PIL import Image

    texture = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    picture = Image.fromarray(texture).resize((48, 32))
    picture.convert("L").save(folder / "mask.png")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769).update({0xA405: 35, 0x920A: 24.0, 0x9003: "2024:01:02 03:04:05"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 0.5), 3: "E", 4: (8.0, 33.0, 0.0), 6: 410.0})
    formats = ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM"]
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats.append("HEIF")
    paths = {name: folder / f"photo.{name.lower()}" for name in formats}
    for name, path in paths.items():
        picture.save(path, name, **({} if name in ("BMP", "PPM", "HEIF") else {"exif": exif}))
    return paths


def _write_video(folder: Path) -> Path:
    import av

    path = folder / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def _read_video(path: Path) -> None:
    from recon3d.photos.video_reader import read_frames, upright_rgb

    for frame in read_frames(str(path), MAX_PIXELS, 60.0):
        upright_rgb(frame)
