"""Nodes with eight children and blocks of sixteen triangles, packed the way the traversal kernels read them."""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float32, Int32

from recon3d.core.kernels import kernel
from recon3d.render.raytrace.bvh_tree import Tree

N_CHILDREN = 8
N_LANES = 16
# A node is 80 words: for each axis the lower planes of its children, the upper ones and the lower ones again, so that a
# ray reads first the planes where it enters, whatever its direction; then its children. A child is a node >= 0 or the
# complement of a block; a child that is not there has a box that no ray can enter.
NODE_WORDS = 9 * N_CHILDREN + N_CHILDREN
BLOCK_WORDS = 9 * N_LANES  # of each of three vertices the x of all triangles, the y, the z


class Nodes(NamedTuple):
    """The packed hierarchy; node 0 is the root, and children come after their parents.

    Args:
        boxes: planes of the children's boxes, and the children as bits, ``[n,80]``.
        blocks: corners of the triangles, NaN where a block has fewer than sixteen, ``[b,144]``.
        faces: the faces of the blocks, -1 = none, ``[b,16]``.
    """

    boxes: Float32[np.ndarray, "n 80"]
    blocks: Float32[np.ndarray, "b 144"]
    faces: Int32[np.ndarray, "b 16"]

    @property
    def children(self) -> Int32[np.ndarray, "n 8"]:
        """The children of the nodes, a view into ``boxes``."""
        return self.boxes.view(np.int32)[:, 9 * N_CHILDREN :]


def pack(tree: Tree) -> Nodes:
    """Return the nodes and blocks of a tree, without coordinates; :func:`fill` writes those."""
    n_leaves = int(np.count_nonzero(tree.n_faces))
    boxes = np.zeros((max(len(tree.first), 1), NODE_WORDS), np.float32)
    nodes = Nodes(boxes, np.full((n_leaves, BLOCK_WORDS), np.nan, np.float32), np.full((n_leaves, 16), -1, np.int32))
    children = np.full((len(boxes), N_CHILDREN), _NOTHING, np.int32)
    n_nodes = _collapse(tree.first, tree.n_faces, tree.area, tree.order, children, nodes.faces) if n_leaves else 1
    nodes.children[:] = children
    return nodes._replace(boxes=boxes[:n_nodes].copy())


_NOTHING = np.iinfo(np.int32).min


@kernel(order="written")
@no_type_check
def _collapse(first, count, area, order, children, faces):
    """Let every node open its largest inner children until it has eight; return the number of nodes left."""
    waiting = np.zeros(len(first), np.int64)  # the binary node of every wide one
    wide, n_nodes, n_blocks = 0, 1, 0
    own = np.zeros(N_CHILDREN, np.int64)
    while wide < n_nodes:
        own[0], n_own = waiting[wide], 1
        while n_own < N_CHILDREN:
            largest, size = -1, -1.0
            for child in range(n_own):
                if count[own[child]] == 0 and area[own[child]] > size:
                    largest, size = child, area[own[child]]
            if largest < 0:
                break
            left = first[own[largest]]
            own[largest], own[n_own] = left, left + 1
            n_own += 1
        for child in range(n_own):
            node = own[child]
            if count[node] == 0:
                children[wide, child] = n_nodes
                waiting[n_nodes] = node
                n_nodes += 1
            else:
                children[wide, child] = ~n_blocks
                for place in range(count[node]):
                    faces[n_blocks, place] = order[first[node] + place]
                n_blocks += 1
        wide += 1
    return n_nodes


def fill(nodes: Nodes, corners: Float32[np.ndarray, "f 3 3"]) -> None:
    """Write the coordinates of triangles into nodes and blocks; their arrangement stays.

    Args:
        nodes: the hierarchy, changed in place.
        corners: the vertices of all faces, ``[f,3,3]``; finite.
    """
    _fill_blocks(nodes.blocks, nodes.faces, corners)
    _fill_boxes(nodes.boxes, nodes.children.copy(), nodes.blocks)


@kernel(order="written")
@no_type_check
def _fill_blocks(blocks, faces, corners):
    for block in range(len(faces)):
        for lane in range(N_LANES):
            face = faces[block, lane]
            if face >= 0:
                for word in range(9):
                    blocks[block, word * N_LANES + lane] = corners[face, word // 3, word % 3]


@kernel(order="written")
@no_type_check
def _fill_boxes(boxes, children, blocks):
    """Write all boxes from the last node to the root."""
    low, high = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for node in range(len(boxes) - 1, -1, -1):
        for child in range(N_CHILDREN):
            what = children[node, child]
            low[:], high[:] = np.inf, -np.inf
            if what >= 0:
                _box_of_node(boxes[what], low, high)
            elif what != _NOTHING:
                _box_of_block(blocks[~what], low, high)
            for axis in range(3):
                start = 3 * N_CHILDREN * axis + child
                boxes[node, start], boxes[node, start + N_CHILDREN] = low[axis], high[axis]
                boxes[node, start + 2 * N_CHILDREN] = low[axis]


@kernel(order="written")
@no_type_check
def _box_of_node(planes, low, high):
    for axis in range(3):
        for child in range(N_CHILDREN):
            start = 3 * N_CHILDREN * axis + child
            low[axis] = min(low[axis], planes[start])
            high[axis] = max(high[axis], planes[start + N_CHILDREN])


@kernel(order="written")
@no_type_check
def _box_of_block(corners, low, high):
    for word in range(9):
        axis = word % 3
        for lane in range(N_LANES):
            value = corners[word * N_LANES + lane]
            if value == value:  # an empty lane holds NaN
                low[axis] = min(low[axis], value)
                high[axis] = max(high[axis], value)
