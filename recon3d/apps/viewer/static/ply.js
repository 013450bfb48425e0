/**
 * PLY files: splats, points and meshes in, splats out.
 * @typedef {{names: string[], rows: Float32Array, n: number, comments: string[]}} Table float columns, row after row
 */

const SIZES = { char: 1, int8: 1, uchar: 1, uint8: 1, short: 2, int16: 2, ushort: 2, uint16: 2, int: 4, int32: 4, uint: 4, uint32: 4, float: 4, float32: 4, double: 8, float64: 8 };
const READERS = {
  char: "getInt8", int8: "getInt8", uchar: "getUint8", uint8: "getUint8", short: "getInt16", int16: "getInt16", ushort: "getUint16",
  uint16: "getUint16", int: "getInt32", int32: "getInt32", uint: "getUint32", uint32: "getUint32", float: "getFloat32",
  float32: "getFloat32", double: "getFloat64", float64: "getFloat64",
};
const MAX_HEADER = 1 << 16;

/**
 * @param {ArrayBuffer} buffer
 * @returns {{format: string, elements: {name: string, count: number, properties: {name: string, type: string, list: string|null}[]}[],
 *   comments: string[], start: number}}
 */
function parseHeader(buffer) {
  const text = new TextDecoder("latin1").decode(new Uint8Array(buffer, 0, Math.min(buffer.byteLength, MAX_HEADER)));
  const end = text.match(/(^|\n)end_header[ \t]*\r?\n/);
  if (!text.startsWith("ply") || !end) throw new Error("This is not a PLY file: its header is missing or damaged.");
  const header = { format: "", elements: [], comments: [], start: end.index + end[0].length };
  for (const line of text.slice(0, end.index).split(/\r?\n/).slice(1)) {
    const words = line.trim().split(/\s+/);
    if (words[0] === "format") header.format = words[1];
    if (words[0] === "comment") header.comments.push(line.trim().slice(8));
    if (words[0] === "element") header.elements.push({ name: words[1], count: Number(words[2]), properties: [] });
    if (words[0] === "property") header.elements.at(-1)?.properties.push(property(words));
  }
  if (header.elements.some((element) => !Number.isSafeInteger(element.count) || element.count < 0)) {
    throw new Error("This PLY file is damaged: a number of elements is wrong.");
  }
  return header;
}

/** @param {string[]} words of a line of the header */
function property(words) {
  const [type, list, name] = words[1] === "list" ? [words[3], words[2], words[4]] : [words[1], null, words[2]];
  if (!(type in SIZES) || (list && !(list in SIZES)) || !name) throw new Error(`This PLY file is damaged: ${words.join(" ")}.`);
  return { name, type, list };
}

/**
 * Read the vertices as floats and the faces as triangles.
 * @param {ArrayBuffer} buffer
 * @returns {{vertices: Table, triangles: Uint32Array|null}}
 */
export function parsePly(buffer) {
  const header = parseHeader(buffer);
  if (header.elements.some((element) => element.name === "chunk")) {
    throw new Error("Compressed PLY is not read. Save the splats as a plain PLY.");
  }
  const source = header.format === "ascii" ? asciiReader(buffer, header.start) : binaryReader(buffer, header);
  let vertices = null;
  let triangles = null;
  for (const element of header.elements) {
    source.expect(element);
    if (element.name === "vertex") vertices = { ...readTable(element, source, buffer, header), comments: header.comments };
    else triangles = readLists(element, source) ?? triangles;
  }
  if (!vertices) throw new Error("This PLY file holds no vertices.");
  return { vertices, triangles };
}

/** @returns {Table} */
function readTable(element, source, buffer, header) {
  const { properties, count } = element;
  const names = properties.map((one) => one.name);
  if (header.format === "binary_little_endian" && properties.every((one) => SIZES[one.type] === 4 && READERS[one.type] === "getFloat32" && !one.list)) {
    const length = 4 * count * names.length;
    return { names, n: count, rows: new Float32Array(buffer.slice(source.skip(length), source.at())), comments: [] };
  }
  const rows = new Float32Array(count * names.length);
  let k = 0;
  for (let i = 0; i < count; i++) {
    for (const { type, list } of properties) {
      if (list) throw new Error("This PLY file has lists in its vertices, which are not read.");
      rows[k++] = source.next(type);
    }
  }
  return { names, n: count, rows, comments: [] };
}

/** Read an element of lists; only vertex_indices are kept, fans of triangles where faces have more corners. */
function readLists(element, source) {
  const out = [];
  for (let i = 0; i < element.count; i++) {
    for (const { name, type, list } of element.properties) {
      const corners = Array.from({ length: list ? source.next(list) : 1 }, () => source.next(type));
      if (!list || !/^vertex_ind/.test(name)) continue;
      for (let j = 2; j < corners.length; j++) out.push(corners[0], corners[j - 1], corners[j]);
    }
  }
  return out.length ? Uint32Array.from(out) : null;
}

/** Reads numbers from a binary body, one after the other. */
function binaryReader(buffer, header) {
  const little = header.format === "binary_little_endian";
  if (!little && header.format !== "binary_big_endian") throw new Error(`PLY files of the format ${header.format} are not read.`);
  const view = new DataView(buffer);
  let offset = header.start;
  const check = (bytes) => {
    if (offset + bytes > buffer.byteLength) throw new Error("This PLY file is damaged: it ends too early.");
  };
  return {
    at: () => offset,
    skip(bytes) {
      check(bytes);
      const start = offset;
      offset += bytes;
      return start;
    },
    expect: (element) => check(element.count * element.properties.reduce((sum, one) => sum + SIZES[one.list ?? one.type], 0)),
    next(type) {
      check(SIZES[type]);
      const value = view[READERS[type]](offset, little);
      offset += SIZES[type];
      return value;
    },
  };
}

/** Reads numbers from a body of text. */
function asciiReader(buffer, start) {
  const words = new TextDecoder("latin1").decode(new Uint8Array(buffer, start)).split(/\s+/);
  let index = words[0] === "" ? 1 : 0;
  return {
    expect(element) {
      if (element.count > words.length) throw new Error("This PLY file is damaged: it ends too early.");
    },
    next() {
      const value = Number(words[index++]);
      if (index > words.length || Number.isNaN(value)) throw new Error("This PLY file is damaged: a number is missing.");
      return value;
    },
  };
}

/** @param {Table} table @param {string} name @returns {(row: number) => number} reads a column; NaN where it is absent */
export function column(table, name) {
  const at = table.names.indexOf(name);
  const width = table.names.length;
  return at < 0 ? () => NaN : (row) => table.rows[row * width + at];
}

/**
 * Write a table, or some rows of it, as a binary PLY.
 * @param {Table} table
 * @param {Uint8Array} kept 1 for each row that is written
 * @returns {Blob}
 */
export function writePly(table, kept) {
  const width = table.names.length;
  const n = kept.reduce((sum, one) => sum + one, 0);
  const rows = new Float32Array(n * width);
  for (let i = 0, k = 0; i < table.n; i++) {
    if (kept[i]) rows.set(table.rows.subarray(i * width, (i + 1) * width), width * k++);
  }
  const lines = ["ply", "format binary_little_endian 1.0", ...table.comments.map((text) => `comment ${text}`), `element vertex ${n}`];
  lines.push(...table.names.map((name) => `property float ${name}`), "end_header", "");
  return new Blob([lines.join("\n"), rows], { type: "application/octet-stream" });
}
