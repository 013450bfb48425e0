/** SPZ files (Niantic's compressed splats, versions 2 and 3), read into the columns of a 3DGS PLY. */

const MAX_POINTS = 10_000_000;

/**
 * @param {ArrayBuffer} buffer
 * @returns {Promise<import("./ply.js").Table & {antialiased: boolean}>}
 */
export async function parseSpz(buffer) {
  const bytes = await gunzip(buffer);
  const view = new DataView(bytes.buffer);
  if (bytes.length < 16 || view.getUint32(0, true) !== 0x5053474e) throw new Error("This is not an SPZ file of version 2 or 3.");
  const [version, n] = [view.getUint32(4, true), view.getUint32(8, true)];
  const [degree, bits, flags] = [bytes[12], bytes[13], bytes[14]];
  if (version < 2 || version > 3 || n > MAX_POINTS || degree > 3 || bits > 24) throw new Error("This SPZ file is damaged, or of an unknown version.");
  const nRest = (degree + 1) ** 2 - 1;
  const sizes = [9, 1, 3, 3, version + 1, 3 * nRest];
  if (bytes.length !== 16 + n * sizes.reduce((a, b) => a + b, 0)) throw new Error("This SPZ file is damaged: it has the wrong length.");
  const starts = sizes.map((_, i) => 16 + n * sizes.slice(0, i).reduce((a, b) => a + b, 0));
  const table = emptyTable(n, nRest);
  const width = table.names.length;
  const quaternion = version === 3 ? smallestThree : firstThree;
  for (let i = 0; i < n; i++) {
    const row = table.rows.subarray(i * width, (i + 1) * width);
    for (let k = 0; k < 3; k++) {
      const p = starts[0] + 9 * i + 3 * k;
      row[k] = ((bytes[p] << 8) | (bytes[p + 1] << 16) | (bytes[p + 2] << 24)) / 256 / 2 ** bits;
      row[3 + k] = (bytes[starts[2] + 3 * i + k] / 255 - 0.5) / 0.15;
      row[7 + k] = bytes[starts[3] + 3 * i + k] / 16 - 10;
    }
    const alpha = bytes[starts[1] + i];
    row[6] = Math.min(Math.max(Math.log(alpha / (255 - alpha)), -13.8), 13.8);
    row.set(quaternion(bytes, starts[4] + (version + 1) * i), 10);
    for (let j = 0; j < nRest; j++) {
      for (let c = 0; c < 3; c++) row[14 + c * nRest + j] = (bytes[starts[5] + 3 * (nRest * i + j) + c] - 128) / 128;
    }
  }
  return { ...table, antialiased: (flags & 1) === 1 };
}

/** @param {ArrayBuffer} buffer @returns {Promise<Uint8Array>} */
async function gunzip(buffer) {
  try {
    const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch (error) {
    throw new Error("This SPZ file is damaged: it cannot be unpacked.", { cause: error });
  }
}

/** @param {number} n @param {number} nRest coefficients above the constant one */
function emptyTable(n, nRest) {
  const names = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"];
  names.push("rot_0", "rot_1", "rot_2", "rot_3", ...Array.from({ length: 3 * nRest }, (_, i) => `f_rest_${i}`));
  return { names, n, rows: new Float32Array(n * names.length), comments: [] };
}

/** A quaternion (w, x, y, z) without its largest component, 10 bits each. @param {Uint8Array} bytes @param {number} at */
function smallestThree(bytes, at) {
  let packed = (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  const largest = packed >>> 30;
  const xyzw = [0, 0, 0, 0];
  let sum = 0;
  for (let i = 3; i >= 0; i--) {
    if (i === largest) continue;
    const value = ((packed & 511) / 511) * Math.SQRT1_2;
    xyzw[i] = packed & 512 ? -value : value;
    sum += value * value;
    packed >>>= 10;
  }
  xyzw[largest] = Math.sqrt(Math.max(0, 1 - sum));
  return [xyzw[3], xyzw[0], xyzw[1], xyzw[2]];
}

/** A quaternion (w, x, y, z) from x, y, z of a byte each. @param {Uint8Array} bytes @param {number} at */
function firstThree(bytes, at) {
  const [x, y, z] = [0, 1, 2].map((k) => bytes[at + k] / 127.5 - 1);
  return [Math.sqrt(Math.max(0, 1 - x * x - y * y - z * z)), x, y, z];
}
