"""Materials and UVs of GLB files: glTF's metallic-roughness model with textures inside the file."""

from __future__ import annotations

import io
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8
from PIL import Image

from recon3d.core.errors import FormatError, ShapeError, UsageError
from recon3d.formats.glb_container import GlbContainer, buffer_view
from recon3d.formats.parsing import json_array, json_field, json_int, json_number

MAX_TEXTURE_PIXELS = 1 << 26  # of one texture: 8192 x 8192
_PICTURE_ERRORS = (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, AttributeError, EOFError,
                   OverflowError, RuntimeError, ZeroDivisionError, Image.DecompressionBombError,
                   struct.error)  # fmt: skip
_WHITE = (1.0, 1.0, 1.0)
TEXTURES = ("base_color_texture", "metallic_roughness_texture", "normal_texture")


@dataclass(frozen=True, eq=False)
class Material:
    """How a surface takes light: the metallic-roughness model of glTF 2.0. Factors multiply their textures.

    Args:
        base_color: linear RGB between 0 and 1.
        roughness: between 0 and 1; alpha is its square.
        metallic: 0 = dielectric, 1 = metal.
        base_color_texture: sRGB, ``[h,w,3]``, row 0 at v = 0.
        metallic_roughness_texture: roughness in channel 1 and metallic in channel 2, linear, ``[h,w,3]``.
        normal_texture: normals in the tangent frame, ``n = 2 t / 255 - 1``, x along u and y up in the image (against
            v), ``[h,w,3]``.

    Raises:
        ShapeError: a texture is empty or has the wrong shape.
        UsageError: a factor is not between 0 and 1.
    """

    base_color: tuple[float, float, float] = _WHITE
    roughness: float = 1.0
    metallic: float = 0.0
    base_color_texture: UInt8[np.ndarray, "h w 3"] | None = None
    metallic_roughness_texture: UInt8[np.ndarray, "h2 w2 3"] | None = None
    normal_texture: UInt8[np.ndarray, "h3 w3 3"] | None = None

    def __post_init__(self) -> None:
        for name, value in zip(
            ("base_color",) * 3 + ("roughness", "metallic"),
            (*self.base_color, self.roughness, self.metallic),
            strict=True,
        ):
            if not 0 <= value <= 1:
                raise UsageError(f"Material.{name} is out of range", got=value, expected="0 to 1")
        for name in TEXTURES:
            image = getattr(self, name)
            if image is not None and (image.ndim != 3 or image.shape[2] != 3 or image.size == 0):
                raise ShapeError(f"Material.{name} has the wrong shape", got=image.shape, expected="[h,w,3]")

    @property
    def textures(self) -> dict[str, UInt8[np.ndarray, "_ _ 3"]]:
        """The textures that are there, by name."""
        return {name: getattr(self, name) for name in TEXTURES if getattr(self, name) is not None}

    def without_textures(self) -> Material:
        """Return the material with its factors alone."""
        return Material(self.base_color, self.roughness, self.metallic)


def split_at_seams(
    faces: Int32[np.ndarray, "f 3"], uvs: Float32[np.ndarray, "f 3 2"]
) -> tuple[Int64[np.ndarray, " n"], Int32[np.ndarray, "f 3"], Float32[np.ndarray, "n 2"]]:
    """Return the vertices with one UV each, as files need them: which they were, faces, and UVs."""
    rows = np.empty(faces.size, [("vertex", np.int64), ("uv", np.int64)])
    rows["vertex"] = faces.reshape(-1)
    rows["uv"] = np.ascontiguousarray(uvs + np.float32(0)).reshape(-1, 2).view(np.int64)[:, 0]  # -0 becomes 0
    kept, first, where = np.unique(rows, return_index=True, return_inverse=True)
    return kept["vertex"], where.reshape(-1, 3).astype(np.int32), uvs.reshape(-1, 2)[first]


def weld(
    columns: list[np.ndarray], faces: Int32[np.ndarray, "f 3"]
) -> tuple[Int64[np.ndarray, " n"], Int32[np.ndarray, "f 3"]]:
    """Join vertices whose columns have the same bits; return which ones stay, in their order, and the faces.

    Args:
        columns: of the vertices, such as positions and normals, ``[v,c]`` each.
        faces: vertex indices.
    """
    table = np.concatenate([np.ascontiguousarray(each).view(np.uint8).reshape(len(each), -1) for each in columns], 1)
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.shape[1])))[:, 0]
    _, first, where = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[where.reshape(-1)][faces].astype(np.int32)


def with_material(container: GlbContainer, material: Material) -> bytes:
    """Return a GLB file of one material with another one; its textures become PNG images in the binary chunk."""
    tree, binary = container.tree, bytearray(container.binary)
    entry = tree["materials"][0]
    entry.pop("extensions", None)
    tree.pop("extensionsUsed", None)
    entry["pbrMetallicRoughness"] = {
        "baseColorFactor": [*material.base_color, 1.0],
        "metallicFactor": material.metallic,
        "roughnessFactor": material.roughness,
    }
    slots = {
        "base_color_texture": (entry["pbrMetallicRoughness"], "baseColorTexture"),
        "metallic_roughness_texture": (entry["pbrMetallicRoughness"], "metallicRoughnessTexture"),
        "normal_texture": (entry, "normalTexture"),
    }
    for index, (name, image) in enumerate(material.textures.items()):
        owner, key = slots[name]
        owner[key] = {"index": index}
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        start = len(binary)
        binary += content.getvalue() + bytes(-len(content.getvalue()) % 4)
        tree["bufferViews"].append({"buffer": 0, "byteOffset": start, "byteLength": len(content.getvalue())})
        tree.setdefault("images", []).append({"bufferView": len(tree["bufferViews"]) - 1, "mimeType": "image/png"})
        tree.setdefault("textures", []).append({"source": index, "sampler": 0})
        tree["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 10497, "wrapT": 10497}]
    tree["buffers"] = [{"byteLength": len(binary)}]
    return _packed(tree, bytes(binary))


def _packed(tree: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def read_material(container: GlbContainer, index: int) -> Material | None:
    """Read a material; None where it is unlit.

    Emission, occlusion, transparency and transforms of textures are not read.

    Raises:
        FormatError: it is not valid, or a texture is damaged, too large, or in another file.
    """
    entry = container.item("materials", index)
    name = f"{container.name}: material {index}"
    if "KHR_materials_unlit" in json_field(entry, "extensions", dict, name, {}):
        return None
    model = json_field(entry, "pbrMetallicRoughness", dict, name, {})
    factor = json_array(model.get("baseColorFactor", [1, 1, 1, 1]), (4,), name)
    values = {"metallic": 1.0, "roughness": 1.0}
    for key in values:
        if f"{key}Factor" in model:
            values[key] = json_number(model, f"{key}Factor", name)
    red, green, blue = (float(value) for value in np.clip(factor[:3], 0, 1))
    owners = zip(TEXTURES, (model, model, entry), ("baseColor", "metallicRoughness", "normal"), strict=True)
    images = {slot: _texture(container, owner, f"{key}Texture", name) for slot, owner, key in owners}
    metallic, roughness = (min(max(values[key], 0.0), 1.0) for key in ("metallic", "roughness"))
    return Material((red, green, blue), roughness, metallic, **images)


def _texture(container: GlbContainer, owner: dict[str, Any], key: str, name: str) -> UInt8[np.ndarray, "h w 3"] | None:
    if key not in owner:
        return None
    info = json_field(owner, key, dict, name)
    if container.optional_int(info, "texCoord", 0) != 0:
        raise FormatError(f"{name}: {key} uses a second set of UVs, which is not read")
    texture = container.item("textures", json_int(info, "index", name))
    image = container.item("images", json_int(texture, "source", name))
    if "bufferView" not in image:
        fix = "export one self-contained .glb"
        raise FormatError(
            f"{name}: {key} is in another file, which is not read", got=str(image.get("uri"))[:60], fix=fix
        )
    start, size, _ = buffer_view(container, json_int(image, "bufferView", name))
    return decode_texture(container.binary[start : start + size], f"{name}: {key}")


def decode_texture(data: bytes, name: str, max_pixels: int = MAX_TEXTURE_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a PNG or JPEG file.

    Args:
        data: the file.
        name: how error texts call it.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        FormatError: it is no such file, damaged, or too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            pixels = math.prod(image.size)
            if 0 < pixels <= max_pixels:
                return np.array(image.convert("RGB"))
    except _PICTURE_ERRORS as error:
        raise FormatError(f"{name} is no PNG or JPEG image, or damaged", got=str(error)[:100]) from error
    raise FormatError(f"{name} is too large", got=f"{pixels} pixels", expected=f"1 to {max_pixels}")
