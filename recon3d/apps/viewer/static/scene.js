/** Loads what the contents name into the layers of the viewer. */

import { parseGlb, smoothNormals } from "./glb.js";
import { loadBytes } from "./loader.js";
import { centreOf, dot, length, subtract, add, scaled } from "./math.js";
import { column, parsePly } from "./ply.js";
import { extent, splatArrays } from "./splat_data.js";
import { SplatRenderer } from "./splat_renderer.js";
import { parseSpz } from "./spz.js";
import { MeshRenderer, PlainRenderer } from "./surface_renderer.js";

export class SceneLoader {
  /** @param {import("./viewer.js").Viewer} viewer @param {any} contents see contents.py */
  constructor(viewer, contents) {
    this.viewer = viewer;
    this.contents = contents;
    /** The table of the splats that are shown, for saving a crop. @type {import("./ply.js").Table|null} */
    this.table = null;
    this.counts = {};
    this.shown = {};
  }

  /** Files of a role, in the order of the contents. @param {string} role */
  items(role) {
    return this.contents.items.filter((item) => item.role === role);
  }

  /** Load a file into its layer. @param {{role: string, path: string}} item @param {(part: number) => void} [onProgress] */
  async load(item, onProgress) {
    const buffer = await loadBytes(`files/${item.path}`, onProgress);
    await this.add(item.path, buffer);
  }

  /** Show the bytes of a file. @param {string} path its name tells the kind @param {ArrayBuffer} buffer */
  async add(path, buffer) {
    const kind = path.toLowerCase().split(".").pop();
    if (kind === "spz") this.showSplats(path, await parseSpz(buffer));
    else if (kind === "glb") this.showMesh(path, await parseGlb(buffer));
    else this.showPly(path, parsePly(buffer));
    this.viewer.invalidate();
  }

  /** @param {string} path @param {ReturnType<typeof parsePly>} ply */
  showPly(path, { vertices, triangles }) {
    if (vertices.names.includes("scale_0")) this.showSplats(path, vertices);
    else if (triangles) this.showMesh(path, [plyMesh(vertices, triangles)]);
    else this.showPoints(path, vertices);
  }

  /** @param {string} path @param {import("./ply.js").Table & {antialiased?: boolean}} table */
  showSplats(path, table) {
    const { viewer } = this;
    const arrays = splatArrays(table);
    viewer.layers.splats?.dispose();
    viewer.layers.splats = new SplatRenderer(viewer.gl, arrays, () => viewer.invalidate());
    viewer.antialiased = table.antialiased ?? this.contents.antialiased;
    viewer.splatExtent = extent(arrays.centres);
    this.table = table;
    this.counts.splats = table.n;
    this.shown.splats = path;
  }

  /** @param {string} path @param {import("./glb.js").MeshPart[]} parts */
  showMesh(path, parts) {
    this.viewer.layers.mesh = new MeshRenderer(this.viewer.programs, parts);
    this.viewer.meshExtent = extent(parts[0].positions);
    this.counts.mesh = this.viewer.layers.mesh.nFaces;
    this.shown.mesh = path;
  }

  /** @param {string} path @param {import("./ply.js").Table} table */
  showPoints(path, table) {
    const [positions, colours] = pointArrays(table);
    this.viewer.layers.points?.dispose();
    this.viewer.layers.points = new PlainRenderer(this.viewer.programs, "POINTS", positions, colours);
    this.viewer.pointExtent = extent(positions);
    this.counts.points = table.n;
    this.shown.points = path;
  }

  /** Choose where to stand first, and how large the scene is. */
  place() {
    const { viewer, contents } = this;
    const seen = viewer.splatExtent ?? viewer.meshExtent ?? viewer.pointExtent ?? { centre: [0, 0, 0], radius: 1 };
    const photos = contents.cameras;
    const centre = photos.length > 2 ? focus(photos) ?? seen.centre : seen.centre;
    viewer.sceneExtent = { centre, radius: seen.radius };
    viewer.fit();
    if (photos.length) {
      const photo = photos[Math.floor(photos.length / 2)];
      const depth = dot(subtract(centre, centreOf(photo.camFromWorld)), photo.camFromWorld.slice(8, 11));
      viewer.camera.setPose(photo, depth > 0 ? depth : seen.radius);
      viewer.camera.roll = 0;
      viewer.camera.dolly(1.15);
    }
  }
}

/** The point that the axes of cameras pass nearest to; null where they are parallel or look elsewhere. */
function focus(photos) {
  const m = new Array(9).fill(0);
  let right = [0, 0, 0];
  for (const { camFromWorld } of photos) {
    const d = camFromWorld.slice(8, 11);
    const c = centreOf(camFromWorld);
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) m[3 * i + j] += (i === j ? 1 : 0) - d[i] * d[j];
    right = add(right, subtract(c, scaled(d, dot(d, c))));
  }
  const point = solve3(m, right);
  if (!point || !point.every(Number.isFinite)) return null;
  const inFront = photos.filter(({ camFromWorld }) => dot(subtract(point, centreOf(camFromWorld)), camFromWorld.slice(8, 11)) > 0);
  return inFront.length > 0.7 * photos.length ? point : null;
}

/** Solve a 3x3 system by Cramer's rule. @param {number[]} m @param {number[]} b */
function solve3(m, b) {
  const columns = [0, 1, 2].map((j) => [m[j], m[3 + j], m[6 + j]]);
  const volume = ([p, q, r]) => p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  const whole = volume(columns);
  if (Math.abs(whole) < 1e-6 * length(columns[0]) * length(columns[1]) * length(columns[2])) return null;
  return [0, 1, 2].map((j) => volume(columns.map((one, k) => (k === j ? b : one))) / whole);
}

/** Positions and sRGB colours of points; grey where there are none. @param {import("./ply.js").Table} table */
function pointArrays(table) {
  const read = (names) => names.map((name) => column(table, name));
  const xyz = read(["x", "y", "z"]);
  const rgb = read(["red", "green", "blue"]);
  const [positions, colours] = [new Float32Array(3 * table.n), new Float32Array(3 * table.n)];
  for (let i = 0; i < table.n; i++) {
    for (let k = 0; k < 3; k++) {
      positions[3 * i + k] = xyz[k](i);
      const value = rgb[k](i) / 255;
      colours[3 * i + k] = Number.isNaN(value) ? 0.75 : value;
    }
  }
  if (!positions.every(Number.isFinite)) throw new Error("The points hold numbers that are not finite: the file is damaged.");
  return [positions, colours];
}

/** A PLY with faces as a part of a mesh. @returns {import("./glb.js").MeshPart} */
function plyMesh(table, indices) {
  const [positions, srgb] = pointArrays(table);
  if (indices.some((index) => index >= table.n)) throw new Error("This PLY file is damaged: a face names a vertex that is not there.");
  const colours = srgb.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return { positions, indices, normals: smoothNormals(positions, indices), colours, uvs: null, baseColour: [1, 1, 1, 1], roughness: 0.9, metallic: 0, unlit: table.names.includes("red"), baseImage: null, materialImage: null };
}
