// The 3D view: points by WebGL (or pixel by pixel on a 2D canvas), camera frusta as lines on a canvas above it.
// World: right-handed, z up. The eye circles a target: yaw and pitch in radians, distance in world units.

const FOV_Y = 0.75;

function bytesOf(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

function unpackPoints(packed) {
  const little = new DataView(bytesOf(packed.xyz).buffer), xyz = new Float32Array(packed.n * 3);
  for (let i = 0; i < xyz.length; i++) xyz[i] = little.getFloat32(4 * i, true);
  return { n: packed.n, origin: packed.origin, xyz, rgb: bytesOf(packed.rgb), error: bytesOf(packed.error), track: bytesOf(packed.track) };
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const along = (a, s, b) => [a[0] + s * b[0], a[1] + s * b[1], a[2] + s * b[2]];

// Centre, corners (towards the photo's top-left, top-right, bottom-right, bottom-left) and axes, relative to the origin.
function unpackCamera(camera, origin) {
  const p = camera.pose, [fx, fy, cx, cy] = camera.K, [w, h] = camera.size;
  const row = (i) => [p[4 * i], p[4 * i + 1], p[4 * i + 2]];
  const right = row(0), down = row(1), forward = row(2);
  const center = [0, 1, 2].map((k) => -(right[k] * p[3] + down[k] * p[7] + forward[k] * p[11]) - origin[k]);
  const corners = [[0, 0], [w, 0], [w, h], [0, h]].map(([x, y]) =>
    along(along(forward, (x - cx) / fx, right), (y - cy) / fy, down));
  return { center, corners, right, down, forward, depth: camera.depth, fovY: 2 * Math.atan(h / (2 * fy)) };
}

// The size of a frustum that does not hide its neighbours: from the median distance to the nearest other camera.
function frustumSize(cameras, radius) {
  const nearest = cameras.map((a) => Math.min(...cameras.filter((b) => b !== a).map((b) => Math.hypot(...along(a.center, -1, b.center)))));
  const known = nearest.filter((d) => Number.isFinite(d) && d > 0).sort((a, b) => a - b);
  const typical = known.length ? known[known.length >> 1] : radius;
  return Math.min(Math.max(0.7 * typical, 0.03 * radius), 0.14 * radius);
}

function viewBasis(eye) {
  const c = Math.cos(eye.pitch), forward = [-c * Math.cos(eye.yaw), -c * Math.sin(eye.yaw), -Math.sin(eye.pitch)];
  const right = [-Math.sin(eye.yaw), Math.cos(eye.yaw), 0], up = cross(right, forward);
  return { forward, right, up, at: along(eye.target, -eye.distance, forward) };
}

function projector(eye, width, height) {
  const basis = viewBasis(eye), focal = height / 2 / Math.tan(eye.fov / 2);
  return (point) => {
    const d = along(point, -1, basis.at), z = dot(d, basis.forward);
    return [width / 2 + focal * dot(d, basis.right) / z, height / 2 - focal * dot(d, basis.up) / z, z];
  };
}

function clipMatrix(eye, aspect) {
  const { forward: f, right: r, up: u, at } = viewBasis(eye), focal = 1 / Math.tan(eye.fov / 2);
  const near = eye.distance * 0.005, far = eye.distance * 200, a = (far + near) / (far - near), b = -2 * far * near / (far - near);
  const rows = [[...r.map((v) => v * focal / aspect), -dot(r, at) * focal / aspect], [...u.map((v) => v * focal), -dot(u, at) * focal],
    [...f.map((v) => v * a), -dot(f, at) * a + b], [...f, -dot(f, at)]];
  return new Float32Array([0, 1, 2, 3].flatMap((column) => rows.map((line) => line[column])));
}

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error("shader: " + gl.getProgramInfoLog(made));
  return made;
}

function glPainter(canvas, points) {
  const gl = canvas.getContext("webgl", { antialias: true, alpha: true, premultipliedAlpha: true });
  if (!gl) return null;
  const dots = program(gl,
    "attribute vec3 p; attribute vec3 c; uniform mat4 m; uniform float s; varying vec3 v;" +
    "void main() { gl_Position = m * vec4(p, 1.0); gl_PointSize = clamp(s / gl_Position.w, 1.0, 24.0); v = c; }",
    "precision mediump float; varying vec3 v; void main() { vec2 d = gl_PointCoord - 0.5; if (dot(d, d) > 0.25) discard; gl_FragColor = vec4(v, 1.0); }");
  const plates = program(gl,
    "attribute vec3 p; attribute vec2 t; uniform mat4 m; varying vec2 v; void main() { gl_Position = m * vec4(p, 1.0); v = t; }",
    "precision mediump float; varying vec2 v; uniform sampler2D i; uniform float a; void main() { gl_FragColor = vec4(texture2D(i, v).rgb * a, a); }");
  const [xyz, rgb, quad] = [gl.createBuffer(), gl.createBuffer(), gl.createBuffer()];
  gl.bindBuffer(gl.ARRAY_BUFFER, xyz);
  gl.bufferData(gl.ARRAY_BUFFER, points.xyz, gl.STATIC_DRAW);
  const textures = new Map();

  function texture(image) {
    if (textures.has(image)) return textures.get(image);
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, image);
    for (const [key, value] of [[gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE], [gl.TEXTURE_MIN_FILTER, gl.LINEAR]])
      gl.texParameteri(gl.TEXTURE_2D, key, value);
    textures.set(image, made);
    return made;
  }

  function attribute(from, name, size, type, normalized, stride, offset) {
    const place = gl.getAttribLocation(from, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalized, stride, offset);
  }

  return {
    photos: true,
    colour(values) {
      gl.bindBuffer(gl.ARRAY_BUFFER, rgb);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    },
    draw(eye, width, height, pointSize, sheets) {
      const matrix = clipMatrix(eye, width / height);
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST);
      gl.disable(gl.BLEND);
      gl.useProgram(dots);
      gl.uniformMatrix4fv(gl.getUniformLocation(dots, "m"), false, matrix);
      gl.uniform1f(gl.getUniformLocation(dots, "s"), pointSize);
      gl.bindBuffer(gl.ARRAY_BUFFER, xyz);
      attribute(dots, "p", 3, gl.FLOAT, false, 0, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, rgb);
      attribute(dots, "c", 3, gl.UNSIGNED_BYTE, true, 0, 0);
      gl.drawArrays(gl.POINTS, 0, points.n);
      gl.useProgram(plates);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.uniformMatrix4fv(gl.getUniformLocation(plates, "m"), false, matrix);
      for (const sheet of sheets) {
        const [a, b, c, d] = sheet.corners;
        gl.bindTexture(gl.TEXTURE_2D, texture(sheet.image));
        gl.uniform1f(gl.getUniformLocation(plates, "a"), sheet.alpha);
        gl.bindBuffer(gl.ARRAY_BUFFER, quad);
        gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([...a, 0, 0, ...b, 1, 0, ...d, 0, 1, ...c, 1, 1]), gl.DYNAMIC_DRAW);
        attribute(plates, "p", 3, gl.FLOAT, false, 20, 0);
        attribute(plates, "t", 2, gl.FLOAT, false, 20, 12);
        gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
      }
    },
  };
}

function pixelPainter(canvas, points) {
  const context = canvas.getContext("2d");
  let rgb = points.rgb;
  return {
    photos: false,
    colour(values) { rgb = values; },
    draw(eye, width, height, pointSize) {
      const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
      const nearest = new Float32Array(width * height).fill(Infinity);
      const { forward: f, right: r, up: u, at } = viewBasis(eye), focal = height / 2 / Math.tan(eye.fov / 2);
      const q = points.xyz, near = eye.distance * 0.005;
      for (let i = 0; i < points.n; i++) {
        const x = q[3 * i] - at[0], y = q[3 * i + 1] - at[1], z = q[3 * i + 2] - at[2];
        const depth = x * f[0] + y * f[1] + z * f[2];
        if (depth < near) continue;
        const side = Math.max(1, Math.min(12, Math.floor(pointSize / depth + i * 0.618 % 1))), half = side / 2;
        const left = Math.round(width / 2 + focal * (x * r[0] + y * r[1]) / depth - half);
        const top = Math.round(height / 2 - focal * (x * u[0] + y * u[1] + z * u[2]) / depth - half);
        const colour = 0xff000000 | rgb[3 * i + 2] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i];
        for (let v = Math.max(0, top); v < Math.min(height, top + side); v++)
          for (let h = Math.max(0, left); h < Math.min(width, left + side); h++)
            if (depth < nearest[v * width + h]) { nearest[v * width + h] = depth; pixels[v * width + h] = colour; }
      }
      context.putImageData(image, 0, 0);
    },
  };
}

function createView(scene, images, onPick) {
  const stage = document.getElementById("stage"), base = document.getElementById("view-base"), sheet = document.getElementById("view-lines");
  const points = unpackPoints(scene.points), cameras = scene.cameras.map((camera) => unpackCamera(camera, points.origin));
  const unit = frustumSize(cameras, scene.radius), floor = scene.floor - points.origin[2];
  const painter = (location.hash === "#canvas" ? null : glPainter(base, points)) || pixelPainter(base, points), lines = sheet.getContext("2d");
  const state = { eye: startEye(), size: 1.6, frusta: 1, photos: painter.photos, picked: -1, over: -1, dirty: false, glide: 0, at: [0, 0, 0] };
  painter.colour(points.rgb);

  // Looks from behind the cameras, from as near as all of them and nearly all points stay in view.
  function startEye() {
    const middle = [0, 1, 2].map((k) => cameras.reduce((sum, camera) => sum + camera.center[k], 0) / Math.max(cameras.length, 1));
    const apart = Math.hypot(middle[0], middle[1]) > 0.15 * scene.radius;
    return fitted({ target: [0, 0, 0], yaw: apart ? Math.atan2(middle[1], middle[0]) + 0.45 : -1.1, pitch: 0.5, distance: 1, fov: FOV_Y });
  }

  function fitted(eye) {
    const { forward, right, up } = viewBasis(eye), tall = Math.tan(eye.fov / 2) * 0.88, wide = tall * Math.min(4, stage.clientWidth / Math.max(stage.clientHeight, 1));
    const place = (p) => [dot(p, right), dot(p, up), dot(p, forward)], stride = Math.max(1, Math.floor(points.n / 3000)), cloud = [];
    for (let i = 0; i < points.n; i += stride) cloud.push(place([points.xyz[3 * i], points.xyz[3 * i + 1], points.xyz[3 * i + 2]]));
    const own = cameras.flatMap((camera) => [camera.center, ...camera.corners.map((c) => along(camera.center, unit, c))]).map(place);
    const sorted = (values) => values.sort((a, b) => a - b), share = (values, part) => values[Math.max(0, Math.ceil(part * values.length) - 1)];
    const [x, y, z] = [0, 1, 2].map((k) => {
      const v = sorted(cloud.map((q) => q[k])), low = own.map((q) => q[k]);
      if (v.length) low.push(share(v, 0.02), share(v, 0.98));
      return low.length ? (Math.min(...low) + Math.max(...low)) / 2 : 0;
    });
    const need = (q) => Math.max(Math.abs(q[0] - x) / wide, Math.abs(q[1] - y) / tall) - (q[2] - z);
    const distance = Math.max(share(sorted(cloud.map(need)), 0.97) || 0, ...own.map(need), 0.2 * scene.radius);
    return { ...eye, target: along(along(along([0, 0, 0], x, right), y, up), z, forward), distance };
  }

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(name).trim();
  }

  function corners(index, factor = 1) {
    const camera = cameras[index], size = unit * state.frusta * factor;
    return camera.corners.map((corner) => along(camera.center, size, corner));
  }

  function request() {
    if (state.dirty) return;
    state.dirty = true;
    requestAnimationFrame(paint);
  }

  function paint() {
    state.dirty = false;
    const ratio = Math.min(window.devicePixelRatio || 1, 2), width = Math.round(stage.clientWidth * ratio), height = Math.round(stage.clientHeight * ratio);
    if (!width || !height) return;
    for (const canvas of [base, sheet]) if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    state.at = viewBasis(state.eye).at;
    const dotSize = state.size * ratio * 1.9 * state.eye.distance, sheets = [];
    if (state.photos && state.frusta > 0)
      cameras.forEach((camera, index) => {
        const image = images[index];
        if (!image || !image.complete || !image.naturalWidth || crowding(index)) return;
        sheets.push({ image, corners: corners(index, index === state.picked ? 1.6 : 1), alpha: index === state.picked ? (near(index) < 0.4 * unit ? 0.45 : 1) : 0.85 });
      });
    painter.draw(state.eye, width, height, dotSize * startScale(), sheets);
    paintLines(width, height, ratio);
  }

  function near(index) { return Math.hypot(...along(cameras[index].center, -1, state.at)); }

  // Who looks from one camera is not to be blinded by its neighbours.
  function crowding(index) { return index !== state.picked && near(index) < 3 * unit * state.frusta; }

  // Points keep their size on screen when the whole scene is in view and grow when one comes close.
  function startScale() { return Math.min(1, Math.max(0.25, scene.radius * 2.6 / state.eye.distance)); }

  function paintLines(width, height, ratio) {
    const project = projector(state.eye, width, height), clip = state.eye.distance * 0.01, colour = colours();
    const stroke = (a, b) => {
      const p = project(a), q = project(b);
      if (p[2] < clip || q[2] < clip) return;
      lines.moveTo(p[0], p[1]);
      lines.lineTo(q[0], q[1]);
    };
    lines.clearRect(0, 0, width, height);
    paintGrid(stroke, colour, ratio);
    paintPath(stroke, colour, ratio);
    if (state.frusta > 0)
      cameras.forEach((camera, index) => {
        if (crowding(index)) return;
        const chosen = index === state.picked, c = corners(index, chosen ? 1.6 : 1);
        lines.beginPath();
        lines.strokeStyle = colour(chosen || index === state.over ? "--pick" : "--accent");
        lines.lineWidth = (chosen ? 2.4 : 1.3) * ratio;
        for (let k = 0; k < 4; k++) { stroke(camera.center, c[k]); stroke(c[k], c[(k + 1) % 4]); }
        lines.stroke();
      });
    paintTriad(colour, height, ratio, width);
  }

  function paintGrid(stroke, colour, ratio) {
    const step = scene.gridStep, reach = Math.ceil(scene.radius * 1.2 / step) * step, o = points.origin;
    lines.beginPath();
    lines.strokeStyle = colour("--soft");
    lines.globalAlpha = 0.22;
    lines.lineWidth = ratio;
    const start = (k) => Math.round(o[k] / step) * step - o[k];
    for (let d = -reach; d <= reach + step / 2; d += step) {
      for (let e = -reach; e < reach - step / 2; e += step) {
        stroke([start(0) + d, start(1) + e, floor], [start(0) + d, start(1) + e + step, floor]);
        stroke([start(0) + e, start(1) + d, floor], [start(0) + e + step, start(1) + d, floor]);
      }
    }
    lines.stroke();
    lines.globalAlpha = 1;
  }

  function paintPath(stroke, colour, ratio) {
    if (state.picked < 0 || cameras.length < 2) return;
    lines.beginPath();
    lines.strokeStyle = colour("--pick");
    lines.globalAlpha = 0.5;
    lines.lineWidth = ratio;
    const camera = cameras[state.picked];
    lines.setLineDash([4 * ratio, 4 * ratio]);
    stroke(camera.center, along(camera.center, camera.depth, camera.forward));
    lines.setLineDash([]);
    lines.stroke();
    lines.globalAlpha = 1;
  }

  function paintTriad(colour, height, ratio, width) {
    const { right, up } = viewBasis(state.eye), at = [width - 46 * ratio, height - 44 * ratio], size = 22 * ratio;
    lines.font = `${11 * ratio}px system-ui, sans-serif`;
    lines.textAlign = "center";
    lines.textBaseline = "middle";
    lines.lineWidth = 1.6 * ratio;
    ["x", "y", "z"].forEach((name, k) => {
      const x = size * right[k], y = -size * up[k];
      lines.strokeStyle = lines.fillStyle = colour(["--r4", "--good", "--r0"][k]);
      lines.beginPath();
      lines.moveTo(at[0], at[1]);
      lines.lineTo(at[0] + x, at[1] + y);
      lines.stroke();
      lines.fillText(name, at[0] + 1.4 * x, at[1] + 1.4 * y);
    });
    lines.fillStyle = colour("--soft");
    lines.textAlign = "right";
    lines.fillText(`grid ${scene.gridLabel}`, width - 84 * ratio, height - 18 * ratio);
  }

  // The nearest frustum whose drawing holds the pixel, or whose centre lies close to it.
  function cameraAt(x, y) {
    if (state.frusta <= 0) return -1;
    const project = projector(state.eye, stage.clientWidth, stage.clientHeight);
    let best = -1, depth = Infinity;
    cameras.forEach((camera, index) => {
      const tip = project(camera.center), c = corners(index, index === state.picked ? 1.6 : 1).map(project);
      if (tip[2] <= 0 || c.some((corner) => corner[2] <= 0)) return;
      const sides = [0, 1, 2, 3].map((k) => {
        const a = c[k], b = c[(k + 1) % 4];
        return Math.sign((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]));
      });
      const inside = sides.every((side) => side >= 0) || sides.every((side) => side <= 0);
      if ((inside || Math.hypot(tip[0] - x, tip[1] - y) < 11) && tip[2] < depth) { best = index; depth = tip[2]; }
    });
    return best;
  }

  function turn(dx, dy) {
    state.eye.yaw -= dx;
    state.eye.pitch = Math.min(1.55, Math.max(-1.55, state.eye.pitch + dy));
    request();
  }

  function move(dx, dy) {
    const { right, up } = viewBasis(state.eye), size = 2 * Math.tan(state.eye.fov / 2) * state.eye.distance / stage.clientHeight;
    state.eye.target = along(along(state.eye.target, -dx * size, right), dy * size, up);
    request();
  }

  function zoom(factor) {
    state.eye.distance = Math.min(60 * scene.radius, Math.max(0.01 * scene.radius, state.eye.distance * factor));
    request();
  }

  function glideTo(goal) {
    cancelAnimationFrame(state.glide);
    const from = state.eye, turnBy = Math.atan2(Math.sin(goal.yaw - from.yaw), Math.cos(goal.yaw - from.yaw));
    const long = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 450, began = performance.now();
    const frame = (now) => {
      const t = long ? Math.min(1, (now - began) / long) : 1, s = t * t * (3 - 2 * t), blend = (a, b) => a + (b - a) * s;
      state.eye = {
        target: from.target.map((v, k) => blend(v, goal.target[k])), yaw: from.yaw + turnBy * s, pitch: blend(from.pitch, goal.pitch),
        distance: Math.exp(blend(Math.log(from.distance), Math.log(goal.distance))), fov: blend(from.fov, goal.fov),
      };
      request();
      if (t < 1) state.glide = requestAnimationFrame(frame);
    };
    frame(began);
  }

  function lookFrom(index) {
    const camera = cameras[index], f = camera.forward;
    glideTo({
      target: along(camera.center, camera.depth, f), yaw: Math.atan2(-f[1], -f[0]), pitch: Math.asin(Math.max(-1, Math.min(1, -f[2]))),
      distance: camera.depth, fov: Math.min(camera.fovY, 1.5),
    });
  }

  connect(stage, { turn, move, zoom, reset: () => glideTo(startEye()), pick: (x, y) => onPick(cameraAt(x, y)),
    hover: (x, y) => { const over = cameraAt(x, y); if (over !== state.over) { state.over = over; stage.classList.toggle("over", over >= 0); request(); } } });
  new ResizeObserver(request).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", request);
  images.forEach((image) => { if (image && !image.complete) image.addEventListener("load", request); });
  request();
  return {
    painter, points, request, lookFrom,
    reset: () => glideTo(startEye()),
    fromAbove: () => glideTo(fitted({ ...startEye(), pitch: 1.55 })),
    pick(index) { state.picked = index; request(); },
    set(name, value) { state[name] = value; request(); },
    colour(values) { painter.colour(values); request(); },
  };
}

function connect(stage, act) {
  const fingers = new Map();
  let moved = 0, spread = 0;
  const place = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const pinch = () => { const [a, b] = [...fingers.values()]; return { gap: Math.hypot(a[0] - b[0], a[1] - b[1]), at: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] }; };
  stage.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, place(event));
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("moving");
    if (fingers.size === 1) moved = 0;
    if (fingers.size === 2) spread = pinch().gap;
  });
  stage.addEventListener("pointermove", (event) => {
    const now = place(event), last = fingers.get(event.pointerId);
    if (!last) { if (event.pointerType === "mouse") act.hover(...now); return; }
    const before = fingers.size === 2 ? pinch().at : last;
    fingers.set(event.pointerId, now);
    const after = fingers.size === 2 ? pinch().at : now, dx = after[0] - before[0], dy = after[1] - before[1];
    moved += Math.abs(dx) + Math.abs(dy);
    if (fingers.size === 2) {
      const gap = pinch().gap;
      if (gap > 0) act.zoom(spread / gap);
      spread = gap;
      act.move(dx, dy);
    } else if (fingers.size === 1) {
      if (event.buttons & 6 || event.shiftKey) act.move(dx, dy);
      else act.turn(dx * 0.007, dy * 0.007);
    }
  });
  const release = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    stage.classList.remove("moving");
    if (event.type === "pointerup" && moved < 5 && event.button === 0 && !fingers.size) act.pick(...place(event));
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  // The wheel scrolls the page until the view has been clicked.
  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== stage && !event.ctrlKey) return;
    event.preventDefault();
    act.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY * (event.deltaMode ? 20 : 1))) * 0.003));
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrows && event.shiftKey) act.move(arrows[0] * 30, arrows[1] * 30);
    else if (arrows) act.turn(arrows[0] * 0.09, arrows[1] * 0.09);
    else if (event.key === "+" || event.key === "=") act.zoom(0.87);
    else if (event.key === "-") act.zoom(1.15);
    else if (event.key === "0" || event.key === "Home") act.reset();
    else return;
    event.preventDefault();
  });
}
