/**
 * Vectors and matrices. Vectors are arrays of three numbers; matrices are row-major arrays, as in the rest of recon3d.
 * Cameras look along +z with x to the right and y down (OpenCV).
 * @typedef {number[]} Vec3
 */

/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];

/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

/** @param {Vec3} a @param {number} s @returns {Vec3} */
export const scaled = (a, s) => [a[0] * s, a[1] * s, a[2] * s];

/** @param {Vec3} a @param {Vec3} b */
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

/** @param {Vec3} a */
export const length = (a) => Math.sqrt(dot(a, a));

/** @param {Vec3} a @returns {Vec3} the unit vector, or z where there is none */
export function normalize(a) {
  const size = length(a);
  return size > 1e-12 ? scaled(a, 1 / size) : [0, 0, 1];
}

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * Product of a row-major 3x3 matrix and a vector.
 * @param {number[]} m @param {Vec3} v @returns {Vec3}
 */
export const times3 = (m, v) => [
  m[0] * v[0] + m[1] * v[1] + m[2] * v[2],
  m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
  m[6] * v[0] + m[7] * v[1] + m[8] * v[2],
];

/**
 * Product of two row-major 3x3 matrices.
 * @param {number[]} a @param {number[]} b @returns {number[]}
 */
export function multiply3(a, b) {
  const columns = [0, 1, 2].map((j) => times3(a, [b[j], b[3 + j], b[6 + j]]));
  return [0, 1, 2].flatMap((i) => columns.map((column) => column[i]));
}

/**
 * Product of two row-major 4x4 matrices.
 * @param {number[]} a @param {number[]} b @returns {number[]}
 */
export function multiply4(a, b) {
  const out = new Array(16).fill(0);
  for (let row = 0; row < 4; row++) {
    for (let column = 0; column < 4; column++) {
      for (let k = 0; k < 4; k++) out[4 * row + column] += a[4 * row + k] * b[4 * k + column];
    }
  }
  return out;
}

/**
 * Rotation about an axis.
 * @param {Vec3} axis unit vector @param {number} angle in radians @returns {number[]} row-major 3x3
 */
export function rotation3(axis, angle) {
  const [x, y, z] = axis;
  const c = Math.cos(angle);
  const s = Math.sin(angle);
  const t = 1 - c;
  return [
    t * x * x + c, t * x * y - s * z, t * x * z + s * y,
    t * x * y + s * z, t * y * y + c, t * y * z - s * x,
    t * x * z - s * y, t * y * z + s * x, t * z * z + c,
  ];
}

/**
 * The shortest rotation that turns one direction into another.
 * @param {Vec3} from unit vector @param {Vec3} to unit vector @returns {number[]} row-major 3x3
 */
export function rotationBetween(from, to) {
  const axis = cross(from, to);
  if (length(axis) > 1e-9) return rotation3(normalize(axis), Math.atan2(length(axis), dot(from, to)));
  if (dot(from, to) > 0) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const side = Math.abs(from[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
  return rotation3(normalize(cross(from, side)), Math.PI);
}

/**
 * What a pinhole camera sees, for WebGL: camera points to clip space.
 * @param {number[]} K fx, fy, cx, cy in pixels @param {number} width @param {number} height
 * @param {number} near @param {number} far @returns {number[]} row-major 4x4
 */
export function projection(K, width, height, near, far) {
  const [fx, fy, cx, cy] = K;
  return [
    (2 * fx) / width, 0, (2 * cx) / width - 1, 0,
    0, (-2 * fy) / height, 1 - (2 * cy) / height, 0,
    0, 0, (far + near) / (far - near), (-2 * far * near) / (far - near),
    0, 0, 1, 0,
  ];
}

/**
 * Turn a world point into camera coordinates.
 * @param {number[]} camFromWorld row-major 4x4 @param {Vec3} p @returns {Vec3}
 */
export const toCamera = (camFromWorld, p) => [0, 4, 8].map(
  (row) => camFromWorld[row] * p[0] + camFromWorld[row + 1] * p[1] + camFromWorld[row + 2] * p[2] + camFromWorld[row + 3],
);

/**
 * Turn a camera point into the world.
 * @param {number[]} camFromWorld row-major 4x4, rigid @param {Vec3} p @returns {Vec3}
 */
export function toWorld(camFromWorld, p) {
  const q = [0, 1, 2].map((i) => p[i] - camFromWorld[4 * i + 3]);
  return [0, 1, 2].map((i) => camFromWorld[i] * q[0] + camFromWorld[4 + i] * q[1] + camFromWorld[8 + i] * q[2]);
}

/** @param {number[]} camFromWorld row-major 4x4, rigid @returns {Vec3} the centre of a camera */
export const centreOf = (camFromWorld) => toWorld(camFromWorld, [0, 0, 0]);
