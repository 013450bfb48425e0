/** The camera that the hand moves: it turns around a target, or flies. */

import { add, centreOf, clamp, cross, dot, normalize, projection, multiply4, scaled, subtract, toWorld } from "./math.js";

const MAX_PITCH = 1.55;

export class OrbitCamera {
  constructor() {
    /** @type {number[]} what the camera turns around */
    this.target = [0, 0, 0];
    this.distance = 3;
    this.yaw = 0.6;
    this.pitch = -0.35;
    this.roll = 0;
    this.fov = 50; // vertical, degrees
    this.radius = 1; // of the scene
    this.setUp([0, 0, 1]);
  }

  /** Choose what points up; the view stays as level as it can. @param {number[]} up */
  setUp(up) {
    this.up = normalize(up);
    const side = Math.abs(this.up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    this.east = normalize(cross(cross(this.up, side), this.up));
    this.north = cross(this.up, this.east);
  }

  /** @returns {number[]} unit vector along the view */
  get forward() {
    const flat = add(scaled(this.east, Math.cos(this.yaw)), scaled(this.north, Math.sin(this.yaw)));
    return add(scaled(flat, Math.cos(this.pitch)), scaled(this.up, Math.sin(this.pitch)));
  }

  /** @returns {number[][]} right, down and forward in the world: the rows of the rotation */
  get axes() {
    const forward = this.forward;
    const right = normalize(cross(forward, this.up));
    const down = cross(forward, right);
    const [c, s] = [Math.cos(this.roll), Math.sin(this.roll)];
    return [add(scaled(right, c), scaled(down, s)), subtract(scaled(down, c), scaled(right, s)), forward];
  }

  /** @returns {number[]} where the camera stands */
  get eye() {
    return subtract(this.target, scaled(this.forward, this.distance));
  }

  /** @returns {number[]} row-major 4x4 */
  get camFromWorld() {
    const eye = this.eye;
    return [...this.axes.flatMap((axis) => [...axis, -dot(axis, eye)]), 0, 0, 0, 1];
  }

  /** Intrinsics for an image of a size. @param {number} width @param {number} height */
  intrinsics(width, height) {
    const focal = (0.5 * height) / Math.tan((this.fov * Math.PI) / 360);
    return [focal, focal, width / 2, height / 2];
  }

  /**
   * The camera as the renderer wants it.
   * @param {number} width @param {number} height @returns {import("./splat_renderer.js").ViewCamera}
   */
  view(width, height) {
    return { camFromWorld: this.camFromWorld, K: this.intrinsics(width, height), width, height, ...this.range };
  }

  /** Nearest and farthest depth that are drawn. */
  get range() {
    const near = Math.max(1e-4 * this.radius, Math.min(0.02 * this.distance, 0.02 * this.radius));
    return { near, far: 200 * this.radius + 10 * this.distance };
  }

  /** Turn around the target. @param {number} dx @param {number} dy in radians */
  orbit(dx, dy) {
    this.yaw -= dx;
    this.pitch = clamp(this.pitch - dy, -MAX_PITCH, MAX_PITCH);
    this.roll *= 0.9;
  }

  /** Turn the head where it is. @param {number} dx @param {number} dy in radians */
  look(dx, dy) {
    const eye = this.eye;
    this.orbit(dx, dy);
    this.target = add(eye, scaled(this.forward, this.distance));
  }

  /** Shift the view by parts of its height. @param {number} dx @param {number} dy */
  pan(dx, dy) {
    const size = 2 * this.distance * Math.tan((this.fov * Math.PI) / 360);
    const [right, down] = this.axes;
    this.target = subtract(this.target, add(scaled(right, dx * size), scaled(down, dy * size)));
  }

  /** Come closer or go away. @param {number} factor on the distance */
  dolly(factor) {
    this.distance = clamp(this.distance * factor, 1e-3 * this.radius, 100 * this.radius);
  }

  /** Fly along right, down and forward. @param {number[]} step in world units */
  fly(step) {
    this.axes.forEach((axis, i) => {
      this.target = add(this.target, scaled(axis, step[i]));
    });
  }

  /**
   * Stand where a photo was taken.
   * @param {{camFromWorld: number[], K: number[], width: number, height: number}} photo
   * @param {number} depth distance of what it looks at
   */
  setPose({ camFromWorld, K, height }, depth) {
    const forward = camFromWorld.slice(8, 11);
    const right = camFromWorld.slice(0, 3);
    this.pitch = clamp(Math.asin(clamp(dot(forward, this.up), -1, 1)), -MAX_PITCH, MAX_PITCH);
    this.yaw = Math.atan2(dot(forward, this.north), dot(forward, this.east));
    this.roll = 0;
    const [level, down] = this.axes;
    this.roll = Math.atan2(dot(right, down), dot(right, level));
    this.distance = depth;
    this.target = add(centreOf(camFromWorld), scaled(this.forward, depth));
    this.fov = (360 / Math.PI) * Math.atan((0.5 * height) / K[1]);
  }

  /** Show all of a ball. @param {number[]} centre @param {number} radius @param {number} aspect width over height */
  fit(centre, radius, aspect) {
    this.target = [...centre];
    const half = (this.fov * Math.PI) / 360;
    this.distance = (1.25 * radius) / Math.sin(Math.min(half, Math.atan(Math.tan(half) * aspect)));
    this.roll = 0;
  }

  /** @returns {object} what describes the view, to be restored by `restore` */
  save() {
    const { target, distance, yaw, pitch, roll, fov, up } = this;
    return { target: [...target], distance, yaw, pitch, roll, fov, up: [...up] };
  }

  /** @param {ReturnType<OrbitCamera["save"]>} saved */
  restore(saved) {
    Object.assign(this, { ...saved, target: [...saved.target] });
    this.setUp(saved.up);
  }
}

/**
 * The point at a pixel and depth.
 * @param {import("./splat_renderer.js").ViewCamera} camera @param {number} x @param {number} y @param {number} depth
 */
export function unproject(camera, x, y, depth) {
  const [fx, fy, cx, cy] = camera.K;
  return toWorld(camera.camFromWorld, [((x - cx) / fx) * depth, ((y - cy) / fy) * depth, depth]);
}

/** World to clip space. @param {import("./splat_renderer.js").ViewCamera} camera @returns {number[]} row-major 4x4 */
export function clipFromWorld(camera) {
  return multiply4(projection(camera.K, camera.width, camera.height, camera.near, camera.far), camera.camFromWorld);
}

