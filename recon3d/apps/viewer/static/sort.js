/** Order of splats from far to near: two counting passes over 16 bits each, in a worker, or at once for tests. */

/**
 * Sort by depth, the farthest first; where depths are equal, the higher index first, so that the lower one lies in
 * front, as in the CPU renderer. Self-contained: its text also runs in the worker.
 * @param {Float32Array} centres x, y, z of each splat
 * @param {number[]} row the third row of cam_from_world: depth = row . (x, y, z, 1)
 * @param {Uint32Array} order is filled with indices
 */
export function sortByDepth(centres, row, order) {
  const n = order.length;
  const depths = new Float32Array(n);
  for (let i = 0, j = 0; i < n; i++, j += 3) {
    depths[i] = row[0] * centres[j] + row[1] * centres[j + 1] + row[2] * centres[j + 2] + row[3];
  }
  // The bits of a float, as an integer that falls as the float grows.
  const keys = new Uint32Array(depths.buffer);
  const low = new Uint32Array(65537);
  const high = new Uint32Array(65537);
  for (let i = 0; i < n; i++) {
    const key = keys[i] & 0x80000000 ? keys[i] : keys[i] ^ 0x7fffffff;
    keys[i] = key;
    low[(key & 65535) + 1]++;
    high[(key >>> 16) + 1]++;
  }
  for (let key = 0; key < 65536; key++) {
    low[key + 1] += low[key];
    high[key + 1] += high[key];
  }
  const half = new Uint32Array(n);
  for (let i = n - 1; i >= 0; i--) half[low[keys[i] & 65535]++] = i;
  for (let i = 0; i < n; i++) order[high[keys[half[i]] >>> 16]++] = half[i];
}

const WORKER = `
const sortByDepth = ${sortByDepth.toString()};
let centres = new Float32Array(0);
onmessage = ({ data }) => {
  if (data.centres) centres = data.centres;
  if (!data.row) return;
  const order = data.order || new Uint32Array(centres.length / 3);
  sortByDepth(centres, data.row, order);
  postMessage({ order, row: data.row }, [order.buffer]);
};`;

/**
 * Sorts in a worker; asks for a new order when the last one has come back and the view has turned since.
 */
export class Sorter {
  /**
   * @param {Float32Array} centres
   * @param {(order: Uint32Array) => void} onOrder is called with each new order
   */
  constructor(centres, onOrder) {
    this.centres = centres;
    this.n = centres.length / 3;
    this.onOrder = onOrder;
    this.busy = false;
    /** @type {number[]|null} row of the latest order that was asked for */
    this.asked = null;
    /** @type {number[]|null} */
    this.waiting = null;
    const address = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(address);
    URL.revokeObjectURL(address);
    this.worker.onmessage = ({ data }) => this.receive(data.order, data.row);
    this.worker.postMessage({ centres });
  }

  /** Ask for an order if the view has changed enough. @param {number[]} row third row of cam_from_world */
  request(row) {
    if (this.asked && this.isClose(this.asked, row)) return;
    if (this.busy) {
      this.waiting = row;
      return;
    }
    this.asked = row;
    this.busy = true;
    this.worker.postMessage({ row, order: this.spare }, this.spare ? [this.spare.buffer] : []);
    this.spare = undefined;
  }

  /** Sort at once, on this thread. @param {number[]} row */
  sortNow(row) {
    const order = new Uint32Array(this.n);
    sortByDepth(this.centres, row, order);
    this.asked = row;
    this.onOrder(order);
  }

  /** @param {Uint32Array} order @param {number[]} row that it belongs to; outdated where sortNow came between */
  receive(order, row) {
    this.busy = false;
    if (this.isClose(this.asked, row)) this.onOrder(order);
    this.spare = order;
    const next = this.waiting;
    this.waiting = null;
    if (next) this.request(next);
  }

  /** @param {number[]} a @param {number[]} b whether the directions differ by less than half a degree */
  isClose(a, b) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] > 0.99996;
  }

  /** End the worker. */
  dispose() {
    this.worker.terminate();
  }
}
