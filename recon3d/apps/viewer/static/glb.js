/** GLB files: triangle meshes with vertex colours and metallic-roughness materials, turned from y-up into the z-up world. */

const SIZES = { 5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4 };
const ARRAYS = { 5120: Int8Array, 5121: Uint8Array, 5122: Int16Array, 5123: Uint16Array, 5125: Uint32Array, 5126: Float32Array };
const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4, MAT4: 16 };
const MAX_DEPTH = 64;

/**
 * @typedef {object} MeshPart
 * @property {Float32Array} positions in the world
 * @property {Float32Array} normals
 * @property {Float32Array} colours linear, red green blue, per vertex
 * @property {Float32Array|null} uvs
 * @property {Uint32Array} indices
 * @property {number[]} baseColour
 * @property {number} roughness
 * @property {number} metallic
 * @property {boolean} unlit the colours hold the light already
 * @property {ImageBitmap|null} baseImage sRGB
 * @property {ImageBitmap|null} materialImage roughness in green, metallic in blue
 */

/**
 * @param {ArrayBuffer} buffer
 * @returns {Promise<MeshPart[]>}
 */
export async function parseGlb(buffer) {
  const file = container(buffer);
  const images = await Promise.all((file.json.images ?? []).map((image) => decodeImage(file, image)));
  const parts = [];
  const roots = file.json.scenes?.[file.json.scene ?? 0]?.nodes ?? (file.json.nodes ?? []).map((_, i) => i);
  for (const root of roots) visit(file, root, IDENTITY, 0, (mesh, matrix) => {
    for (const primitive of file.json.meshes[mesh].primitives) {
      if ((primitive.mode ?? 4) === 4) parts.push(readPrimitive(file, primitive, matrix, images));
    }
  });
  if (!parts.length) throw new Error("This GLB file holds no triangles.");
  return parts;
}

const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** @returns {{json: any, binary: ArrayBuffer}} */
function container(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 20 || view.getUint32(0, true) !== 0x46546c67) throw new Error("This is not a GLB file.");
  const length = view.getUint32(12, true);
  if (20 + length > buffer.byteLength) throw new Error("This GLB file is damaged: it ends too early.");
  let json;
  try {
    json = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 20, length)));
  } catch (error) {
    throw new Error("This GLB file is damaged: its description is no JSON.", { cause: error });
  }
  const start = 20 + length;
  const binary = start + 8 <= buffer.byteLength ? buffer.slice(start + 8, start + 8 + view.getUint32(start, true)) : new ArrayBuffer(0);
  return { json, binary };
}

/** Walk through the nodes; matrices are column-major, as in glTF. */
function visit(file, index, parent, depth, found) {
  const node = file.json.nodes?.[index];
  if (!node || depth > MAX_DEPTH) return;
  const matrix = multiply(parent, node.matrix ?? compose(node));
  if (node.mesh !== undefined) found(node.mesh, matrix);
  for (const child of node.children ?? []) visit(file, child, matrix, depth + 1, found);
}

/** @param {number[]} a @param {number[]} b column-major */
function multiply(a, b) {
  const out = new Array(16).fill(0);
  for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
  return out;
}

/** Matrix of translation, rotation and scale. */
function compose({ translation: t = [0, 0, 0], rotation: [x, y, z, w] = [0, 0, 0, 1], scale: s = [1, 1, 1] }) {
  return [
    s[0] * (1 - 2 * (y * y + z * z)), s[0] * 2 * (x * y + w * z), s[0] * 2 * (x * z - w * y), 0,
    s[1] * 2 * (x * y - w * z), s[1] * (1 - 2 * (x * x + z * z)), s[1] * 2 * (y * z + w * x), 0,
    s[2] * 2 * (x * z + w * y), s[2] * 2 * (y * z - w * x), s[2] * (1 - 2 * (x * x + y * y)), 0,
    ...t, 1,
  ];
}

/** @returns {MeshPart} */
function readPrimitive(file, primitive, matrix, images) {
  const { attributes } = primitive;
  const positions = turn(readAccessor(file, attributes.POSITION).values, matrix, 1);
  const n = positions.length / 3;
  const indices = primitive.indices === undefined ? Uint32Array.from({ length: n }, (_, i) => i) : Uint32Array.from(readAccessor(file, primitive.indices).values);
  if (indices.some((index) => index >= n)) throw new Error("This GLB file is damaged: a face names a vertex that is not there.");
  const material = file.json.materials?.[primitive.material] ?? {};
  const pbr = material.pbrMetallicRoughness ?? {};
  const imageOf = (texture) => images[file.json.textures?.[texture?.index]?.source] ?? null;
  return {
    positions, indices,
    normals: attributes.NORMAL === undefined ? smoothNormals(positions, indices) : turn(readAccessor(file, attributes.NORMAL).values, matrix, 0),
    colours: readColours(file, attributes.COLOR_0, n),
    uvs: attributes.TEXCOORD_0 === undefined ? null : Float32Array.from(readAccessor(file, attributes.TEXCOORD_0).values),
    baseColour: pbr.baseColorFactor ?? [1, 1, 1, 1],
    roughness: pbr.roughnessFactor ?? 1,
    metallic: pbr.metallicFactor ?? 1,
    unlit: "KHR_materials_unlit" in (material.extensions ?? {}),
    baseImage: imageOf(pbr.baseColorTexture),
    materialImage: imageOf(pbr.metallicRoughnessTexture),
  };
}

/** Read numbers; normalised integers become 0..1. */
function readAccessor(file, index) {
  const accessor = file.json.accessors?.[index];
  const where = file.json.bufferViews?.[accessor?.bufferView];
  if (!accessor || !where || !(accessor.componentType in SIZES)) throw new Error("This GLB file is damaged, or compressed in a way that is not read.");
  const width = WIDTHS[accessor.type];
  const size = SIZES[accessor.componentType];
  const stride = where.byteStride ?? width * size;
  const start = (where.byteOffset ?? 0) + (accessor.byteOffset ?? 0);
  if (start + stride * (accessor.count - 1) + width * size > file.binary.byteLength) throw new Error("This GLB file is damaged: it ends too early.");
  const Kind = ARRAYS[accessor.componentType];
  const values = new Float64Array(accessor.count * width);
  for (let i = 0; i < accessor.count; i++) values.set(new Kind(file.binary.slice(start + i * stride, start + i * stride + width * size)), i * width);
  if (accessor.normalized) {
    const most = { 5120: 127, 5121: 255, 5122: 32767, 5123: 65535 }[accessor.componentType] ?? 1;
    for (let i = 0; i < values.length; i++) values[i] = Math.max(values[i] / most, -1);
  }
  return { values, width };
}

/** Apply a node's matrix and the turn from y-up to z-up: (x, y, z) becomes (x, -z, y). @param {0|1} w 1 for points */
function turn(values, m, w) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i += 3) {
    const [x, y, z] = [0, 1, 2].map((r) => m[r] * values[i] + m[4 + r] * values[i + 1] + m[8 + r] * values[i + 2] + w * m[12 + r]);
    const size = w ? 1 : Math.hypot(x, y, z) || 1;
    out.set([x / size, -z / size, y / size], i);
  }
  return out;
}

/** Linear colours of the vertices; white where there are none. */
function readColours(file, index, n) {
  const out = new Float32Array(3 * n).fill(1);
  if (index === undefined) return out;
  const { values, width } = readAccessor(file, index);
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) out[3 * i + c] = values[width * i + c];
  return out;
}

/**
 * Normals of the vertices, from the faces around them.
 * @param {Float32Array} p @param {Uint32Array} indices @returns {Float32Array}
 */
export function smoothNormals(p, indices) {
  const out = new Float32Array(p.length);
  for (let i = 0; i < indices.length; i += 3) {
    const [a, b, c] = [3 * indices[i], 3 * indices[i + 1], 3 * indices[i + 2]];
    const [ux, uy, uz] = [p[b] - p[a], p[b + 1] - p[a + 1], p[b + 2] - p[a + 2]];
    const [vx, vy, vz] = [p[c] - p[a], p[c + 1] - p[a + 1], p[c + 2] - p[a + 2]];
    const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const at of [a, b, c]) for (let k = 0; k < 3; k++) out[at + k] += n[k];
  }
  for (let i = 0; i < out.length; i += 3) {
    const size = Math.hypot(out[i], out[i + 1], out[i + 2]) || 1;
    for (let k = 0; k < 3; k++) out[i + k] /= size;
  }
  return out;
}

/** @returns {Promise<ImageBitmap|null>} an image inside the file; others are left out */
async function decodeImage(file, image) {
  const where = file.json.bufferViews?.[image.bufferView];
  if (!where) return null;
  const start = where.byteOffset ?? 0;
  const blob = new Blob([file.binary.slice(start, start + where.byteLength)], { type: image.mimeType });
  return createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => null);
}
