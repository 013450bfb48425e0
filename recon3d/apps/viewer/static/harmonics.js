/** Spherical harmonics of environments to degree 2, with the signs of 3DGS, on the CPU. */

const PI = Math.PI;

/** The first nine real harmonics of a unit vector. @param {number[]} d @returns {number[]} */
export function basis9([x, y, z]) {
  return [
    0.28209479177387814, -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
    1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * z * z - x * x - y * y),
    -1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y),
  ];
}

/**
 * Project an equirectangular picture: c_lm = sum of L Y_lm over the solid angles of the pixels.
 * @param {Float32Array} rgb row 0 at +z, centre column +x @param {number} width @param {number} height
 * @returns {Float64Array} nine coefficients of red, green and blue
 */
export function projectEnvironment(rgb, width, height) {
  const out = new Float64Array(27);
  for (let row = 0; row < height; row++) {
    const theta = (PI * (row + 0.5)) / height;
    const solid = ((2 * PI) / width) * (Math.cos((PI * row) / height) - Math.cos((PI * (row + 1)) / height));
    for (let column = 0; column < width; column++) {
      const phi = PI - (2 * PI * (column + 0.5)) / width;
      const y = basis9([Math.sin(theta) * Math.cos(phi), Math.sin(theta) * Math.sin(phi), Math.cos(theta)]);
      const at = 3 * (row * width + column);
      for (let k = 0; k < 9; k++) {
        for (let c = 0; c < 3; c++) out[3 * k + c] += solid * rgb[at + c] * y[k];
      }
    }
  }
  return out;
}

/** Nodes and weights of Gauss and Legendre: four nodes are exact for what degree 2 needs. */
const NODES = [-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526];
const WEIGHTS = [0.34785484513745385, 0.6521451548625461, 0.6521451548625461, 0.34785484513745385];
const N_PHI = 8;

/**
 * Coefficients of the rotated light, by quadrature that is exact at this degree.
 * @param {Float64Array} coefficients nine of red, green and blue
 * @param {number[]} worldFromEnvironment row-major 3x3
 * @returns {Float64Array}
 */
export function rotateHarmonics(coefficients, worldFromEnvironment) {
  const m = worldFromEnvironment;
  const out = new Float64Array(27);
  for (let i = 0; i < NODES.length; i++) {
    const z = NODES[i];
    const flat = Math.sqrt(1 - z * z);
    for (let j = 0; j < N_PHI; j++) {
      const phi = (2 * PI * j) / N_PHI;
      const w = [flat * Math.cos(phi), flat * Math.sin(phi), z];
      const local = basis9([0, 1, 2].map((k) => m[k] * w[0] + m[3 + k] * w[1] + m[6 + k] * w[2]));
      const world = basis9(w);
      for (let c = 0; c < 3; c++) {
        const value = local.reduce((sum, y, k) => sum + y * coefficients[3 * k + c], 0);
        for (let k = 0; k < 9; k++) out[3 * k + c] += ((WEIGHTS[i] * 2 * PI) / N_PHI) * value * world[k];
      }
    }
  }
  return out;
}

/**
 * The table of the split sum: for n.v along x and roughness along y the factors A and B with F = F0 A + B, by the
 * height-correlated Smith term; see near.md section 3.5.
 * @param {number} size texels along a side; the first and last lie at 0 and 1 @param {number} samples
 * @returns {Float32Array} A and B of each
 */
export function brdfTable(size = 32, samples = 256) {
  const out = new Float32Array(2 * size * size);
  for (let row = 0; row < size; row++) {
    const alpha = Math.max((row / (size - 1)) ** 2, 1e-3);
    for (let column = 0; column < size; column++) {
      out.set(integrate(Math.max(column / (size - 1), 1e-3), alpha, samples), 2 * (row * size + column));
    }
  }
  return out;
}

/** By visible normals, drawn from a spherical cap. @param {number} nv @param {number} alpha @param {number} samples @returns {number[]} */
function integrate(nv, alpha, samples) {
  const a2 = alpha * alpha;
  const lambda = (cosine) => 0.5 * (Math.sqrt(1 + a2 * (1 / (cosine * cosine) - 1)) - 1);
  const vx = Math.sqrt(1 - nv * nv);
  const size = Math.hypot(alpha * vx, nv);
  const [wx, wz] = [(alpha * vx) / size, nv / size];
  let [a, b] = [0, 0];
  for (let i = 0; i < samples; i++) {
    const z = (1 - (i + 0.5) / samples) * (1 + wz) - wz;
    const phi = Math.PI * radicalInverse(i); // the other half is its mirror image
    const flat = Math.sqrt(Math.max(0, 1 - z * z));
    const h = [alpha * (flat * Math.cos(phi) + wx), alpha * flat * Math.sin(phi), Math.max(0, z + wz)];
    const scale = 1 / Math.hypot(...h);
    const vh = scale * (vx * h[0] + nv * h[2]);
    const nl = 2 * vh * h[2] * scale - nv;
    if (nl <= 1e-6) continue;
    const weight = (1 + lambda(nv)) / (1 + lambda(nv) + lambda(nl));
    const fresnel = (1 - vh) ** 5;
    a += (1 - fresnel) * weight;
    b += fresnel * weight;
  }
  return [a / samples, b / samples];
}

/** Van der Corput's sequence in base 2. @param {number} i */
function radicalInverse(i) {
  let bits = i;
  bits = ((bits << 16) | (bits >>> 16)) >>> 0;
  bits = (((bits & 0x55555555) << 1) | ((bits & 0xaaaaaaaa) >>> 1)) >>> 0;
  bits = (((bits & 0x33333333) << 2) | ((bits & 0xcccccccc) >>> 2)) >>> 0;
  bits = (((bits & 0x0f0f0f0f) << 4) | ((bits & 0xf0f0f0f0) >>> 4)) >>> 0;
  bits = (((bits & 0x00ff00ff) << 8) | ((bits & 0xff00ff00) >>> 8)) >>> 0;
  return bits / 4294967296;
}
