/** Environments that are computed: no file is needed to relight a scene. Row 0 at +z, centre column +x, linear. */

const [WIDTH, HEIGHT] = [256, 128];

/** @typedef {{width: number, height: number, rgb: Float32Array}} Picture */

/** A soft-edged patch of light around a direction. */
const patch = (d, towards, cosine, softness) => {
  const c = d[0] * towards[0] + d[1] * towards[1] + d[2] * towards[2];
  return 1 / (1 + Math.exp(-(c - cosine) / softness));
};

/** Radiance towards a direction of each probe. @type {Record<string, (d: number[]) => number[]>} */
const RADIANCE = {
  studio: (d) => {
    const key = 10 * patch(d, [0.55, 0.55, 0.63], 0.93, 0.008);
    const fill = 4 * patch(d, [-0.8, 0.3, 0.52], 0.9, 0.02);
    const rim = 7 * patch(d, [-0.2, -0.93, 0.3], 0.95, 0.008);
    const room = 0.18 + 0.14 * Math.max(d[2], 0);
    return [room + key + 0.95 * fill + rim, room + 0.97 * key + fill + rim, room + 0.92 * key + 1.08 * fill + rim];
  },
  overcast: (d) => {
    const sky = d[2] > 0 ? 0.7 + 0.9 * d[2] : 0.32 * Math.exp(4 * d[2]) + 0.18;
    return [0.95 * sky, sky, 1.06 * sky];
  },
  sunset: (d) => {
    const sun = 380 * patch(d, [0.94, 0.28, 0.19], 0.9986, 0.00025) + 3 * patch(d, [0.94, 0.28, 0.19], 0.96, 0.02);
    const glow = Math.exp(-6 * Math.abs(d[2])) * (0.6 + 0.5 * d[0]);
    const sky = d[2] > 0 ? 0.32 : 0.1;
    return [sun + 1.1 * glow + 0.7 * sky, 0.62 * sun + 0.55 * glow + 0.8 * sky, 0.33 * sun + 0.3 * glow + 1.2 * sky];
  },
  noon: (d) => {
    const sun = 1500 * patch(d, [0.35, -0.35, 0.87], 0.9992, 0.0001);
    const sky = d[2] > 0 ? 0.75 - 0.35 * d[2] : 0.25;
    return d[2] > 0 ? [sun + 0.55 * sky, sun + 0.85 * sky, 0.95 * sun + 1.5 * sky] : [sky, 0.92 * sky, 0.8 * sky];
  },
};

/** Names of the probes, as people read them. */
export const PROBES = { studio: "Studio", overcast: "Overcast sky", sunset: "Sunset", noon: "Noon sun" };

/** @param {keyof PROBES} name @returns {Picture} */
export function probe(name) {
  const rgb = new Float32Array(3 * WIDTH * HEIGHT);
  for (let row = 0, at = 0; row < HEIGHT; row++) {
    const theta = (Math.PI * (row + 0.5)) / HEIGHT;
    for (let column = 0; column < WIDTH; column++, at += 3) {
      const phi = Math.PI - (2 * Math.PI * (column + 0.5)) / WIDTH;
      rgb.set(RADIANCE[name]([Math.sin(theta) * Math.cos(phi), Math.sin(theta) * Math.sin(phi), Math.cos(theta)]), at);
    }
  }
  return { width: WIDTH, height: HEIGHT, rgb };
}
