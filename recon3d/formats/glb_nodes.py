"""The node tree of GLB files: which mesh stands where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from recon3d.core.errors import FormatError
from recon3d.formats.glb_container import GlbContainer
from recon3d.formats.parsing import json_array, json_int
from recon3d.formats.quaternions import rotation_from_quaternion


@dataclass(frozen=True, eq=False)
class MeshInstance:
    """A mesh at a node.

    Args:
        mesh: its index.
        world_from_mesh: the transforms of the node and its parents composed, in glTF's axes.
    """

    mesh: int
    world_from_mesh: Float64[np.ndarray, "4 4"]


def mesh_instances(container: GlbContainer) -> list[MeshInstance]:
    """Return the meshes of the file's scene in the order of the node tree.

    Raises:
        FormatError: there is no scene, a node is reached twice, or a transform is not valid.
    """
    scene = container.item("scenes", container.optional_int(container.tree, "scene", 0))
    waiting = [(index, np.eye(4)) for index in reversed(_indices(container, scene, "nodes"))]
    seen: set[int] = set()
    instances: list[MeshInstance] = []
    while waiting:
        index, world_from_parent = waiting.pop()
        if index in seen:
            raise FormatError(f"{container.name}: the nodes are no tree", got=f"node {index} twice")
        seen.add(index)
        node = container.item("nodes", index)
        with np.errstate(over="ignore", invalid="ignore"):
            world_from_node = world_from_parent @ _local_matrix(node, f"{container.name}: node {index}")
        if "mesh" in node:
            instances.append(MeshInstance(json_int(node, "mesh", container.name), world_from_node))
        waiting += [(child, world_from_node) for child in reversed(_indices(container, node, "children"))]
    return instances


def _indices(container: GlbContainer, owner: dict[str, Any], key: str) -> list[int]:
    entries = {str(place): value for place, value in enumerate(container.items(owner, key))}
    return [json_int(entries, place, f"{container.name}: {key}") for place in entries]


def _local_matrix(node: dict[str, Any], name: str) -> Float64[np.ndarray, "4 4"]:
    if "matrix" in node:
        if node.keys() & {"translation", "rotation", "scale"}:
            raise FormatError(f"{name} has a matrix and other transforms")
        matrix = json_array(node["matrix"], (16,), name).reshape(4, 4).T
        if matrix[3].tolist() != [0, 0, 0, 1]:
            raise FormatError(f"{name}: the matrix is not affine", got=matrix[3].tolist())
        return matrix
    matrix = np.eye(4)
    if "rotation" in node:
        xyzw = json_array(node["rotation"], (4,), name)
        if not 0.9 < float(np.linalg.norm(xyzw)) < 1.1:
            raise FormatError(f"{name}: the rotation is not of unit length", got=xyzw.tolist())
        matrix[:3, :3] = rotation_from_quaternion(xyzw[None, (3, 0, 1, 2)])[0]
    if "scale" in node:
        matrix[:3, :3] *= json_array(node["scale"], (3,), name)
    if "translation" in node:
        matrix[:3, 3] = json_array(node["translation"], (3,), name)
    return matrix
