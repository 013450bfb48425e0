/** Environment files: Radiance .hdr, and .exr without compression or with ZIP. */

const MAX_PIXELS = 1 << 25;

/** @typedef {{width: number, height: number, rgb: Float32Array}} Picture */

/**
 * Read a Radiance .hdr file.
 * @param {ArrayBuffer} buffer @returns {Picture}
 */
export function parseHdr(buffer) {
  const bytes = new Uint8Array(buffer);
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 8192));
  const size = head.match(/\n\n-Y (\d+) \+X (\d+)\n/);
  if (!head.startsWith("#?") || !size) throw new Error("This is not a Radiance .hdr file, or it is turned in a way that is not read.");
  const [height, width] = [Number(size[1]), Number(size[2])];
  checkSize(width, height);
  const rgb = new Float32Array(3 * width * height);
  const line = new Uint8Array(4 * width);
  let at = size.index + size[0].length;
  for (let row = 0; row < height; row++) {
    at = readLine(bytes, at, line, width);
    for (let x = 0; x < width; x++) {
      const scale = line[4 * x + 3] ? 2 ** (line[4 * x + 3] - 136) : 0;
      for (let c = 0; c < 3; c++) rgb[3 * (row * width + x) + c] = line[4 * x + c] * scale;
    }
  }
  return { width, height, rgb };
}

/** Unpack one line of RGBE pixels; returns where the next one begins. */
function readLine(bytes, start, line, width) {
  let at = start;
  const need = (n) => {
    if (at + n > bytes.length) throw new Error("This .hdr file is damaged: it ends too early.");
  };
  need(4);
  if (bytes[at] !== 2 || bytes[at + 1] !== 2 || ((bytes[at + 2] << 8) | bytes[at + 3]) !== width) return readOldLine(bytes, at, line, width);
  at += 4;
  for (let plane = 0; plane < 4; plane++) {
    for (let x = 0; x < width; ) {
      need(2);
      const count = bytes[at++];
      const repeats = count > 128;
      const n = repeats ? count - 128 : count;
      if (!n || x + n > width) throw new Error("This .hdr file is damaged: a run is too long.");
      need(repeats ? 1 : n);
      for (let i = 0; i < n; i++, x++) line[4 * x + plane] = repeats ? bytes[at] : bytes[at + i];
      at += repeats ? 1 : n;
    }
  }
  return at;
}

/** Flat pixels, where 1, 1, 1, n repeats the one before. */
function readOldLine(bytes, start, line, width) {
  let at = start;
  let shift = 0;
  for (let x = 0; x < width; ) {
    if (at + 4 > bytes.length) throw new Error("This .hdr file is damaged: it ends too early.");
    const pixel = bytes.subarray(at, at + 4);
    at += 4;
    if (pixel[0] === 1 && pixel[1] === 1 && pixel[2] === 1) {
      const n = pixel[3] << shift;
      if (!x || x + n > width) throw new Error("This .hdr file is damaged: a run is too long.");
      for (let i = 0; i < n; i++, x++) line.copyWithin(4 * x, 4 * x - 4, 4 * x);
      shift += 8;
    } else {
      line.set(pixel, 4 * x++);
      shift = 0;
    }
  }
  return at;
}

/** Read what the server makes of an .exr file: width, height and floats. @param {ArrayBuffer} buffer @returns {Picture} */
export function parseRaw(buffer) {
  const [width, height] = new Uint32Array(buffer, 0, 2);
  return { width, height, rgb: new Float32Array(buffer, 8, 3 * width * height) };
}

/**
 * Read an OpenEXR file of half or float channels R, G and B.
 * @param {ArrayBuffer} buffer @returns {Promise<Picture>}
 */
export async function parseExr(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0, true) !== 20000630) throw new Error("This is not an OpenEXR file.");
  const [attributes, start] = exrHeader(view);
  const [x0, y0, x1, y1] = [0, 4, 8, 12].map((offset) => view.getInt32(attributes.dataWindow + offset, true));
  const [width, height] = [x1 - x0 + 1, y1 - y0 + 1];
  checkSize(width, height);
  const compression = view.getUint8(attributes.compression);
  if (![0, 2, 3].includes(compression)) throw new Error("This .exr file is compressed in a way that the page does not read. Put it into the folder that is viewed, or save it with ZIP.");
  const channels = exrChannels(view, attributes.channels);
  const lines = compression === 3 ? 16 : 1;
  const rgb = new Float32Array(3 * width * height);
  for (let block = 0; block * lines < height; block++) {
    const at = Number(view.getBigUint64(start + 8 * block, true));
    const [y, size] = [view.getInt32(at, true) - y0, view.getInt32(at + 4, true)];
    const n = Math.min(lines, height - y);
    const expected = n * width * channels.reduce((sum, one) => sum + one.bytes, 0);
    const packed = new Uint8Array(buffer, at + 8, size);
    const raw = compression && size < expected ? await unzip(packed) : packed.slice();
    if (raw.length !== expected) throw new Error("This .exr file is damaged: a block has the wrong length.");
    copyLines(new DataView(raw.buffer), channels, { rgb, width, y, n });
  }
  return { width, height, rgb };
}

/** @returns {[Record<string, number>, number]} where each attribute's value begins, and where the table of blocks does */
function exrHeader(view) {
  const attributes = {};
  let at = 8;
  const text = () => {
    let out = "";
    for (let code; (code = view.getUint8(at++)); ) out += String.fromCharCode(code);
    return out;
  };
  for (let name; (name = text()); ) {
    text();
    const size = view.getInt32(at, true);
    attributes[name] = at + 4;
    at += 4 + size;
  }
  return [attributes, at];
}

/** @returns {{colour: number, bytes: number}[]} in the order of the file */
function exrChannels(view, start) {
  const out = [];
  for (let at = start; view.getUint8(at); at += 17) {
    let name = "";
    for (let code; (code = view.getUint8(at++)); ) name += String.fromCharCode(code);
    at -= 1;
    const kind = view.getInt32(at + 1, true);
    out.push({ colour: "RGB".indexOf(name), bytes: kind === 1 ? 2 : 4, isHalf: kind === 1 });
  }
  if (![0, 1, 2].every((c) => out.some((one) => one.colour === c))) throw new Error("This .exr file has no channels R, G and B.");
  return out;
}

/** Undo ZIP: unpack, add up the differences, and put the two halves of the bytes together. */
async function unzip(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  for (let i = 1; i < bytes.length; i++) bytes[i] = bytes[i - 1] + bytes[i] - 128;
  const middle = (bytes.length + 1) >> 1;
  const out = new Uint8Array(bytes.length);
  for (let i = 0; i < middle; i++) {
    out[2 * i] = bytes[i];
    if (middle + i < bytes.length) out[2 * i + 1] = bytes[middle + i];
  }
  return out;
}

/** Take the colours out of lines whose channels stand one after the other. */
function copyLines(view, channels, { rgb, width, y, n }) {
  let at = 0;
  for (let row = y; row < y + n; row++) {
    for (const { colour, bytes, isHalf } of channels) {
      for (let x = 0; x < width; x++, at += bytes) {
        if (colour < 0) continue;
        const value = isHalf ? fromHalf(view.getUint16(at, true)) : view.getFloat32(at, true);
        rgb[3 * (row * width + x) + colour] = value > 0 ? Math.min(value, 65504) : 0;
      }
    }
  }
}

/** @param {number} bits of a half float */
function fromHalf(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/** @param {number} width @param {number} height */
function checkSize(width, height) {
  if (!(width > 0 && height > 0 && width * height <= MAX_PIXELS)) throw new Error(`An environment of ${width}x${height} pixels is not read.`);
}
