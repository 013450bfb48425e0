"""Kernels that follow rays through a hierarchy: the nearest hit, or whether there is one.

Triangles are tested as in "Watertight Ray/Triangle Intersection" (Woop, Benthin, Wald; JCGT 2(1), 2013): the corners
are sheared so that the ray becomes an axis, and the signs of three edge functions decide. Products are rounded before
they are subtracted, so that a sign is exact or zero, and an edge that two triangles share gives them opposite signs;
zero counts as inside. No ray slips through a shared edge or corner, and no second test in double precision is needed.
Boxes are widened, per ray, by more than the rounding errors of both tests. All kernels here are compiled as written,
since every looser order lets the compiler fuse those products as well; the operators of lanes fuse the others.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np

from recon3d.core.kernels import kernel
from recon3d.render.gaussians.cpu_simd import at, bits, both, load, lowest_bit, put, spread
from recon3d.render.raytrace.bvh_nodes import BLOCK_WORDS, N_CHILDREN, NODE_WORDS
from recon3d.render.raytrace.simd import either, halves, lane, larger, rounded_product, smaller, swapped

STACK = 1024  # more than seven times the depth of any tree
_FAR = np.float32(2.0**40)  # rays that start farther away, in sizes of the mesh, cannot be told from misses
_STEEP = np.float32(2.0**60)  # largest reciprocal of a component of a direction
_SLACK = np.float32(2.0**-20)  # how much boxes are widened, relative to the distance from the origin of the ray
_LANES = BLOCK_WORDS // 9


class Ray(NamedTuple):
    """One ray as the tests of boxes and of triangles see it; coordinates are in sizes of the mesh."""

    origin_x: Any  # along the two small axes and the main axis of the direction
    origin_y: Any
    origin_z: Any
    shear_x: Any
    shear_y: Any
    shear_z: Any
    words_x: Any  # where a block keeps these axes
    words_y: Any
    words_z: Any
    entry: Any  # lanes of the origin for x, y, z, with boxes widened
    reciprocal: Any  # lanes of one over the direction for x, y, z
    first: Any  # where a node keeps the planes that the ray enters through, for x, y, z


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _usable(x, y, z, dx, dy, dz):
    """Return whether a ray is finite, has a direction, and starts where float32 can resolve the mesh."""
    near = abs(x) < _FAR and abs(y) < _FAR and abs(z) < _FAR
    finite = abs(dx) < np.inf and abs(dy) < np.inf and abs(dz) < np.inf
    return near and finite and (dx != 0.0 or dy != 0.0 or dz != 0.0)


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _reciprocal(value):
    if abs(value) * _STEEP < np.float32(1.0):
        return np.float32(math.copysign(_STEEP, value))
    return np.float32(1.0) / value


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _entry(origin, reciprocal, slack):
    """Return the origin as the planes where a ray enters and leaves see it, with boxes widened on both sides."""
    out = np.float32(math.copysign(slack, reciprocal))
    return halves(np.float32(origin + out), np.float32(origin - out))


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _main_axis(dx, dy, dz):
    if abs(dz) >= abs(dx) and abs(dz) >= abs(dy):
        return 2
    return 1 if abs(dy) >= abs(dx) else 0


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _along(x, y, z, axis):
    return x if axis == 0 else (y if axis == 1 else z)


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _first(axis, reciprocal):
    return np.int64(3 * N_CHILDREN * axis + (0 if reciprocal >= 0.0 else N_CHILDREN))


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _prepared(x, y, z, dx, dy, dz):
    """Return a ray whose largest component of direction is in [1/2,1)."""
    kz = _main_axis(dx, dy, dz)
    kx, ky = (kz + 1) % 3, (kz + 2) % 3
    shear_z = np.float32(1.0) / _along(dx, dy, dz, kz)
    rx, ry, rz = _reciprocal(dx), _reciprocal(dy), _reciprocal(dz)
    slack = (max(abs(x), abs(y), abs(z)) + np.float32(1.0)) * _SLACK
    return Ray(
        _along(x, y, z, kx),
        _along(x, y, z, ky),
        _along(x, y, z, kz),
        _along(dx, dy, dz, kx) * shear_z,
        _along(dx, dy, dz, ky) * shear_z,
        shear_z,
        np.int64(kx * _LANES),
        np.int64(ky * _LANES),
        np.int64(kz * _LANES),
        (_entry(x, rx, slack), _entry(y, ry, slack), _entry(z, rz, slack)),
        (spread(rx), spread(ry), spread(rz)),
        (_first(0, rx), _first(1, ry), _first(2, rz)),
    )


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _sheared(blocks, start, ray):
    """Return one corner of sixteen triangles in the frame of the ray."""
    z = load(blocks, start + ray.words_z) - ray.origin_z
    x = load(blocks, start + ray.words_x) - ray.origin_x
    y = load(blocks, start + ray.words_y) - ray.origin_y
    return x - z * ray.shear_x, y - z * ray.shear_y, z * ray.shear_z


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _cross_block(blocks, block, ray, near, far):
    """Return the mask of the triangles of a block that are hit within (near,far], the distances, and two weights."""
    start = np.int64(block) * BLOCK_WORDS
    ax, ay, az = _sheared(blocks, start, ray)
    bx, by, bz = _sheared(blocks, start + 3 * _LANES, ray)
    cx, cy, cz = _sheared(blocks, start + 6 * _LANES, ray)
    u = rounded_product(cx, by) - rounded_product(cy, bx)
    v = rounded_product(ax, cy) - rounded_product(ay, cx)
    w = rounded_product(bx, ay) - rounded_product(by, ax)
    scale = np.float32(1.0) / (u + v + w)
    distance = (u * az + v * bz + w * cz) * scale
    zero = np.float32(0.0)
    inside = either(smaller(smaller(u, v), w) >= zero, larger(larger(u, v), w) <= zero)
    return bits(both(inside, both(distance > near, distance <= far))), distance, v * scale, w * scale


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _cross_boxes(boxes, node, ray, near, far):
    """Return which children of a node the ray enters within [near,far], as bits, and where."""
    start = np.int64(node) * NODE_WORDS
    x = (load(boxes, start + ray.first[0]) - ray.entry[0]) * ray.reciprocal[0]
    y = (load(boxes, start + ray.first[1]) - ray.entry[1]) * ray.reciprocal[1]
    z = (load(boxes, start + ray.first[2]) - ray.entry[2]) * ray.reciprocal[2]
    enter = larger(larger(x, y), larger(z, spread(near)))
    leave = smaller(smaller(x, y), smaller(z, spread(far)))
    return bits(enter <= swapped(leave)) & 0xFF, enter


@kernel(order="written", lean=True)
@no_type_check
def _closest(boxes, links, blocks, faces, ray, near, far, waiting, entered):
    """Return the nearest face, its distance and two weights; of equally near ones the face with the least index."""
    best, best_v, best_w = np.int32(-1), np.float32(0.0), np.float32(0.0)
    what, n_waiting = np.int32(0), 0
    while True:
        if what >= 0:
            found, enter = _cross_boxes(boxes, what, ray, near, far)
            bottom = n_waiting
            while found:
                child = lowest_bit(found)
                found &= found - 1
                link, begin = at(links, np.int64(what) * NODE_WORDS + 9 * N_CHILDREN + child), lane(enter, child)
                place = n_waiting
                while place > bottom and at(entered, place - 1) < begin:  # the nearest ends on top
                    put(waiting, place, at(waiting, place - 1))
                    put(entered, place, at(entered, place - 1))
                    place -= 1
                put(waiting, place, link)
                put(entered, place, begin)
                n_waiting += 1
        else:
            found, distance, v, w = _cross_block(blocks, ~what, ray, near, far)
            while found:
                which = lowest_bit(found)
                found &= found - 1
                there, face = lane(distance, which), at(faces, np.int64(~what) * _LANES + which)
                if there < far or (there == far and 0 <= face < best):
                    far, best, best_v, best_w = there, face, lane(v, which), lane(w, which)
        while True:
            if n_waiting == 0:
                return best, far, best_v, best_w
            n_waiting -= 1
            if at(entered, n_waiting) <= far:
                what = at(waiting, n_waiting)
                break


@kernel(order="written", lean=True)
@no_type_check
def _any(boxes, links, blocks, ray, near, far, waiting):
    """Return whether the ray hits anything within (near,far)."""
    what, n_waiting = np.int32(0), 0
    while True:
        if what >= 0:
            found, _ = _cross_boxes(boxes, what, ray, near, far)
            while found:
                child = lowest_bit(found)
                found &= found - 1
                put(waiting, n_waiting, at(links, np.int64(what) * NODE_WORDS + 9 * N_CHILDREN + child))
                n_waiting += 1
        else:
            found, distance, _, _ = _cross_block(blocks, ~what, ray, near, far)
            while found:
                if lane(distance, lowest_bit(found)) < far:
                    return True
                found &= found - 1
        if n_waiting == 0:
            return False
        n_waiting -= 1
        what = at(waiting, n_waiting)


@kernel(order="written", inline=True, lean=True)
@no_type_check
def _power(exponent):
    return np.float32(math.ldexp(1.0, exponent))


@kernel(order="written")
@no_type_check
def closest_hits(boxes, links, blocks, faces, size, origins, directions, t_min, t_max, face, t, uv, start, stop):
    """Write face, distance and weights of rays start..stop; ``size`` is the exponent of the scale of the hierarchy."""
    waiting, entered = np.empty(STACK, np.int32), np.empty(STACK, np.float32)
    for ray in range(start, stop):
        face[ray], t[ray], uv[ray, 0], uv[ray, 1] = -1, np.inf, 0.0, 0.0
        x, y, z = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        shrink = math.ldexp(1.0, -size)
        x, y, z = np.float32(x * shrink), np.float32(y * shrink), np.float32(z * shrink)
        if not _usable(x, y, z, dx, dy, dz):
            continue
        k = math.frexp(max(abs(dx), abs(dy), abs(dz)))[1]
        short = math.ldexp(1.0, -k)
        stretch = math.ldexp(1.0, k - size)
        ready = _prepared(x, y, z, np.float32(dx * short), np.float32(dy * short), np.float32(dz * short))
        near, far = np.float32(t_min[ray] * stretch), np.float32(t_max[ray] * stretch)
        if not near < far:
            continue
        hit, distance, v, w = _closest(boxes, links, blocks, faces, ready, near, far, waiting, entered)
        if hit >= 0:
            face[ray], t[ray], uv[ray, 0], uv[ray, 1] = hit, distance / stretch, v, w


@kernel(order="written")
@no_type_check
def any_hits(boxes, links, blocks, size, origins, directions, t_min, t_max, found, start, stop):
    """Write whether rays start..stop hit anything."""
    waiting = np.empty(STACK, np.int32)
    shrink = math.ldexp(1.0, -size)
    for ray in range(start, stop):
        found[ray] = False
        x, y, z = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        x, y, z = np.float32(x * shrink), np.float32(y * shrink), np.float32(z * shrink)
        if not _usable(x, y, z, dx, dy, dz):
            continue
        k = math.frexp(max(abs(dx), abs(dy), abs(dz)))[1]
        short, stretch = math.ldexp(1.0, -k), math.ldexp(1.0, k - size)
        ready = _prepared(x, y, z, np.float32(dx * short), np.float32(dy * short), np.float32(dz * short))
        near, far = np.float32(t_min[ray] * stretch), np.float32(t_max[ray] * stretch)
        if near < far:
            found[ray] = _any(boxes, links, blocks, ready, near, far, waiting)
