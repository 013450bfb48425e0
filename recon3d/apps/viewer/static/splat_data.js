/** The columns of a splat PLY as the arrays that the renderer uploads. */

import { column } from "./ply.js";

const MATERIAL = ["albedo_0", "albedo_1", "albedo_2", "roughness", "metallic", "nx", "ny", "nz"];
const LOGIT_LIMIT = 13.8;

/**
 * @typedef {object} SplatArrays
 * @property {number} n
 * @property {Float32Array} centres x, y, z of each
 * @property {Float32Array} placed x, y, z and opacity of each
 * @property {Float32Array} covarianceA xx, xy, xz, yy of each
 * @property {Float32Array} covarianceB yz, zz of each
 * @property {Uint32Array} harmonics coefficients as pairs of half floats, colours fastest, padded to whole texels
 * @property {number} harmonicTexels texels per splat
 * @property {number} degree of the harmonics
 * @property {Uint32Array|null} materials albedo, roughness, metallic, normal, transfer as half floats, three texels each
 * @property {boolean} hasTransfer
 * @property {boolean} linear whether the colours are linear
 */

/**
 * @param {import("./ply.js").Table} table
 * @returns {SplatArrays}
 */
export function splatArrays(table) {
  const { n } = table;
  const nRest = table.names.filter((name) => /^f_rest_\d+$/.test(name)).length;
  const degree = [0, 9, 24, 45].indexOf(nRest);
  const missing = ["x", "y", "z", "f_dc_0", "opacity", "scale_0", "rot_0"].find((name) => !table.names.includes(name));
  if (missing || degree < 0) throw new Error(`This PLY holds no splats that can be shown: ${missing ? `no property ${missing}` : `${nRest} f_rest properties`}.`);
  const arrays = {
    n, degree,
    centres: new Float32Array(3 * n),
    placed: new Float32Array(4 * n),
    covarianceA: new Float32Array(4 * n),
    covarianceB: new Float32Array(2 * n),
    linear: table.comments.some((text) => text.trim() === "colour_space linear"),
  };
  place(table, arrays);
  return { ...arrays, ...harmonics(table, degree), ...materials(table) };
}

/** Fill in centres, opacities and covariances. */
function place(table, arrays) {
  const read = (names) => names.map((name) => column(table, name));
  const xyz = read(["x", "y", "z"]);
  const logs = read(["scale_0", "scale_1", "scale_2"]);
  const rotation = read(["rot_0", "rot_1", "rot_2", "rot_3"]);
  const logit = column(table, "opacity");
  const { centres, placed, covarianceA, covarianceB, n } = arrays;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < 3; k++) placed[4 * i + k] = centres[3 * i + k] = xyz[k](i);
    placed[4 * i + 3] = 1 / (1 + Math.exp(-Math.min(Math.max(logit(i), -LOGIT_LIMIT), LOGIT_LIMIT)));
    const c = covariance(rotation.map((one) => one(i)), logs.map((one) => Math.exp(2 * one(i))));
    if (!Number.isFinite(c[0] + c[3] + c[5] + placed[4 * i] + placed[4 * i + 1] + placed[4 * i + 2] + placed[4 * i + 3])) {
      throw new Error(`Splat ${i} holds numbers that are not finite: the file is damaged.`);
    }
    covarianceA.set(c.slice(0, 4), 4 * i);
    covarianceB.set(c.slice(4), 2 * i);
  }
}

/**
 * R S S R^T as xx, xy, xz, yy, yz, zz.
 * @param {number[]} q w, x, y, z of any length @param {number[]} s variances along the axes
 */
function covariance(q, s) {
  const size = Math.hypot(...q);
  const [w, x, y, z] = q.map((one) => one / size);
  const r = [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
  const at = (i, j) => s[0] * r[3 * i] * r[3 * j] + s[1] * r[3 * i + 1] * r[3 * j + 1] + s[2] * r[3 * i + 2] * r[3 * j + 2];
  return [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)];
}

/** Pack the harmonics: coefficient after coefficient, red, green, blue. */
function harmonics(table, degree) {
  const k = (degree + 1) ** 2;
  const names = [0, 1, 2].map((c) => `f_dc_${c}`);
  for (let j = 0; j < k - 1; j++) for (let c = 0; c < 3; c++) names.push(`f_rest_${c * (k - 1) + j}`);
  const harmonicTexels = Math.ceil((3 * k) / 8);
  return { harmonics: packHalves(table, names, 4 * harmonicTexels), harmonicTexels };
}

/** Pack the materials of relightable splats. */
function materials(table) {
  if (!MATERIAL.slice(0, 4).every((name) => table.names.includes(name))) return { materials: null, hasTransfer: false };
  const hasTransfer = table.names.includes("tr_8");
  const names = [...MATERIAL, ...Array.from({ length: 9 }, (_, i) => `tr_${i}`)];
  return { materials: packHalves(table, names, 12), hasTransfer };
}

/**
 * Put columns side by side as half floats, two in each word; absent columns are zero.
 * @param {import("./ply.js").Table} table @param {string[]} names @param {number} words per row
 */
function packHalves(table, names, words) {
  const out = new Uint32Array(table.n * words);
  const width = table.names.length;
  const places = names.map((name) => table.names.indexOf(name));
  for (let i = 0; i < table.n; i++) {
    for (let j = 0; j < places.length; j++) {
      if (places[j] >= 0) out[i * words + (j >> 1)] |= half(table.rows[i * width + places[j]]) << (16 * (j & 1));
    }
  }
  return out;
}

const word = new Float32Array(1);
const wordBits = new Uint32Array(word.buffer);

/** The bits of the half float nearest to a number; what is too large becomes the largest. @param {number} value */
export function half(value) {
  word[0] = value;
  const bits = wordBits[0];
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477fe000) return sign | 0x7bff;
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  return sign | Math.round(Math.abs(value) * 16777216); // subnormal: steps of 2^-24
}

/**
 * Centre and size of what is dense: medians, and the distance within which nine of ten splats lie.
 * @param {Float32Array} centres @returns {{centre: number[], radius: number}}
 */
export function extent(centres) {
  const n = centres.length / 3;
  if (!n) return { centre: [0, 0, 0], radius: 1 };
  const step = Math.max(1, Math.floor(n / 20000));
  const sample = Array.from({ length: Math.ceil(n / step) }, (_, i) => 3 * i * step);
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const centre = [0, 1, 2].map((k) => middle(sample.map((at) => centres[at + k])));
  const distances = sample.map((at) => Math.hypot(centres[at] - centre[0], centres[at + 1] - centre[1], centres[at + 2] - centre[2]));
  distances.sort((a, b) => a - b);
  return { centre, radius: distances[Math.floor(0.9 * (distances.length - 1))] || 1 };
}
