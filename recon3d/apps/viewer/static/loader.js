/** Where data come from: the server that recon3d view started, or the page itself where it was exported. */

/** The server does not answer. */
export class LostServer extends Error {}

/** @param {string} path @returns {Uint8Array|null} a file that was inlined into the page */
function inlined(path) {
  const found = [...document.querySelectorAll("script.recon3d-file")].find((one) => one.dataset.path === path);
  if (!found) return null;
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(found.textContent);
  const text = atob(found.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Whether the page was exported, and has no server. */
export const isExported = () => document.getElementById("recon3d-contents") !== null;

/** An address of the server. @param {string} path with plain parts @returns {string} */
export const address = (path) => path.split("/").map(encodeURIComponent).join("/");

/** @returns {Promise<any>} what is shown; see contents.py */
export async function loadContents() {
  const inside = document.getElementById("recon3d-contents");
  if (inside) return JSON.parse(inside.textContent);
  return (await request("contents.json")).json();
}

/**
 * Load a file.
 * @param {string} path such as files/splats.ply
 * @param {(part: number) => void} [onProgress] is told how much has come, 0 to 1
 * @returns {Promise<ArrayBuffer>}
 */
export async function loadBytes(path, onProgress = () => {}) {
  const inside = inlined(path);
  if (inside) return inside.buffer;
  const response = await request(address(path));
  const total = Number(response.headers.get("content-length")) || 0;
  const reader = response.body.getReader();
  let bytes = new Uint8Array(total);
  let got = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(lost);
    if (done) break;
    if (got + value.length > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, got + value.length));
      larger.set(bytes.subarray(0, got));
      bytes = larger;
    }
    bytes.set(value, got);
    got += value.length;
    if (total) onProgress(got / total);
  }
  if (total && got < total) throw new LostServer("The server stopped in the middle of a file.");
  return got === bytes.length ? bytes.buffer : bytes.buffer.slice(0, got);
}

/** @param {string} path such as thumbnails/images/a.jpg @returns {string} an address for an <img> */
export function pictureAddress(path) {
  const inside = inlined(path);
  return inside ? URL.createObjectURL(new Blob([inside], { type: "image/jpeg" })) : address(path);
}

/** Send JSON to the server. @param {string} path @param {object} value @returns {Promise<any>} */
export async function send(path, value) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) };
  return (await request(path, options)).json();
}

/** @param {string} path @param {RequestInit} [options] */
async function request(path, options) {
  const response = await fetch(path, options).catch(lost);
  if (!response.ok) throw new Error((await response.text()).slice(0, 400) || `The server answered ${response.status}.`);
  return response;
}

/** @param {unknown} cause @returns {never} */
function lost(cause) {
  throw new LostServer("The server does not answer. Start recon3d view again.", { cause });
}
