/** Screenshots and turntable videos. */

import { save, setPressed, toast } from "./kit.js";

const TURN_SECONDS = 8;
const PATIENCE_SECONDS = 10; // for the first encoded picture, on a slow machine

/** Save what is seen as a PNG. @param {import("./viewer.js").Viewer} viewer @param {string} name */
export function screenshot(viewer, name) {
  viewer.draw(1);
  viewer.canvas.toBlob((blob) => {
    if (blob) save(blob, `${name}.png`);
    else toast("The picture could not be made.", "error");
  }, "image/png");
}

/**
 * Record one turn around the target.
 * @param {import("./viewer.js").Viewer} viewer @param {string} name @param {number} [seconds]
 * @returns {Promise<Blob|null>} the video, which is saved as well; null where the browser cannot record, or recorded nothing
 */
export async function turntable(viewer, name, seconds = TURN_SECONDS) {
  const type = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"].find((one) => window.MediaRecorder?.isTypeSupported(one));
  if (!type || viewer.isRecording) {
    toast(type ? "A video is being recorded already." : "This browser cannot record videos.", "error");
    return null;
  }
  viewer.isRecording = true;
  setPressed("tool-video", true);
  const parts = [];
  const recorder = new MediaRecorder(viewer.canvas.captureStream(30), { mimeType: type, videoBitsPerSecond: 12e6 });
  recorder.ondataavailable = ({ data }) => data.size && parts.push(data);
  const stopped = new Promise((resolve) => {
    recorder.onstop = resolve;
  });
  recorder.start(500);
  await turn(viewer, seconds);
  await firstPart(viewer, recorder, parts);
  recorder.stop();
  await stopped;
  viewer.isRecording = false;
  setPressed("tool-video", false);
  const blob = new Blob(parts, { type });
  if (!blob.size) {
    toast("This browser recorded nothing; the machine may be too busy.", "error");
    return null;
  }
  save(blob, `${name}_turntable.${type.includes("mp4") ? "mp4" : "webm"}`);
  return blob;
}

/**
 * Keep drawing until the recorder has encoded something: a busy machine may need longer than a short turn.
 * @param {import("./viewer.js").Viewer} viewer @param {MediaRecorder} recorder @param {Blob[]} parts
 */
async function firstPart(viewer, recorder, parts) {
  const start = performance.now();
  while (!parts.length && performance.now() - start < 1000 * PATIENCE_SECONDS) {
    viewer.invalidate();
    recorder.requestData();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Turn once, at an even speed. @param {import("./viewer.js").Viewer} viewer @param {number} seconds */
function turn(viewer, seconds) {
  const start = performance.now();
  const yaw = viewer.camera.yaw;
  return new Promise((resolve) => {
    const step = () => {
      const part = Math.min(1, (performance.now() - start) / 1000 / seconds);
      viewer.camera.yaw = yaw + 2 * Math.PI * part;
      viewer.invalidate();
      if (part < 1) requestAnimationFrame(step);
      else resolve();
    };
    step();
  });
}
