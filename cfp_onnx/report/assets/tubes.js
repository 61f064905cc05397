/* Tubes over frames: bytes become values at clip pixels, values become colours, weak ones stay transparent. */

const THUMB = 44;
const FINEST = 256;
const KEPT = 160;

let COLOURS = null;

function readColours(colormap) {
  COLOURS = bytesOf(colormap.rgb);
}

function bytesOf(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) out[i] = text.charCodeAt(i);
  return out;
}

function levelsOf(map) {
  map.levels ??= bytesOf(map.data);
  return map.levels;
}

/** For each of `size` places on an axis of `length` clip pixels: the element before, the one after, and its share.
    Constant beyond the outermost centres. */
function axis(centres, length, size) {
  const before = new Int32Array(size);
  const after = new Int32Array(size);
  const share = new Float32Array(size);
  const last = centres.length - 1;
  let i = 0;
  for (let j = 0; j < size; j += 1) {
    const x = ((j + 0.5) * length) / size - 0.5;
    while (i < last && centres[i + 1] <= x) i += 1;
    if (x <= centres[0] || i >= last) {
      before[j] = after[j] = x <= centres[0] ? 0 : last;
    } else {
      before[j] = i;
      after[j] = i + 1;
      share[j] = (x - centres[i]) / (centres[i + 1] - centres[i]);
    }
  }
  return { before, after, share };
}

function axisOf(map, which, length, size) {
  map.axes ??= new Map();
  const key = `${which} ${size}`;
  if (!map.axes.has(key)) map.axes.set(key, axis(map.centres[which], length, size));
  return map.axes.get(key);
}

/** Levels 0..255 of one frame, (h, w) as the map has them, blended between its two nearest steps in time. */
function sliceAt(map, frame, frames) {
  const [, h, w] = map.shape;
  const levels = levelsOf(map);
  const { before, after, share } = axisOf(map, 0, frames, frames);
  const [a, b, f] = [before[frame] * h * w, after[frame] * h * w, share[frame]];
  const out = new Float32Array(h * w);
  for (let i = 0; i < out.length; i += 1) out[i] = levels[a + i] * (1 - f) + levels[b + i] * f;
  return out;
}

/** A plane (h, w) at height x width places of the clip: first along rows, then along columns. */
function spread(map, plane, size, height, width) {
  const [, h, w] = map.shape;
  const across = axisOf(map, 2, size[2], width);
  const down = axisOf(map, 1, size[1], height);
  const wide = new Float32Array(h * width);
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const f = across.share[x];
      wide[y * width + x] = plane[y * w + across.before[x]] * (1 - f) + plane[y * w + across.after[x]] * f;
    }
  }
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y += 1) {
    const [a, b, f] = [down.before[y] * width, down.after[y] * width, down.share[y]];
    for (let x = 0; x < width; x += 1) out[y * width + x] = wide[a + x] * (1 - f) + wide[b + x] * f;
  }
  return out;
}

/** Values as a picture; `solid` paints weak values too instead of leaving them transparent. */
function coloured(values, width, height, solid) {
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < values.length; i += 1) {
    const level = Math.max(0, Math.min(255, Math.round(values[i])));
    image.data[4 * i] = COLOURS[3 * level];
    image.data[4 * i + 1] = COLOURS[3 * level + 1];
    image.data[4 * i + 2] = COLOURS[3 * level + 2];
    image.data[4 * i + 3] = solid ? 255 : level;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The last overlays made, oldest first: playing a loop draws each of its frames once. */
const overlays = new Map();
let mapCount = 0;

function overlay(map, frame, size, height, width, solid) {
  map.id ??= (mapCount += 1);
  const key = `${map.id} ${frame} ${height} ${width} ${solid}`;
  const old = overlays.get(key);
  if (old) return old;
  const made = coloured(spread(map, sliceAt(map, frame, size[0]), size, height, width), width, height, solid);
  overlays.set(key, made);
  if (overlays.size > KEPT) overlays.delete(overlays.keys().next().value);
  return made;
}

/** A map as one small picture: its maximum over time. */
function paintThumb(canvas, map) {
  const [t, h, w] = map.shape;
  const levels = levelsOf(map);
  const plane = new Float32Array(h * w);
  for (let i = 0; i < t * h * w; i += 1) if (levels[i] > plane[i % (h * w)]) plane[i % (h * w)] = levels[i];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = true;
  context.drawImage(coloured(plane, w, h, true), 0, 0, canvas.width, canvas.height);
}

/** Cosine of two maps over the clip, both interpolated at the same places; null where one of them is zero. */
function cosine(one, other, size) {
  const [frames, height, width] = [size[0], Math.min(size[1], 28), Math.min(size[2], 28)];
  const step = Math.max(1, Math.floor(frames / 16));
  let [ab, aa, bb] = [0, 0, 0];
  for (let t = 0; t < frames; t += step) {
    const a = valuesAt(one, t, size, height, width);
    const b = valuesAt(other, t, size, height, width);
    for (let i = 0; i < a.length; i += 1) {
      ab += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
  }
  return aa === 0 || bb === 0 ? null : ab / Math.sqrt(aa * bb);
}

function valuesAt(map, frame, size, height, width) {
  const { low, high } = map.scale;
  const levels = spread(map, sliceAt(map, frame, size[0]), size, height, width);
  return levels.map((level) => low + (level / 255) * (high - low));
}

// ------------------------------------------------------------------------------------------ screens

/** The frames as pictures that tell when they can be drawn. */
function readFrames(media, onLoad) {
  return media.frames.filter((address) => address.startsWith("data:image/")).map((address) => {
    const picture = new Image();
    picture.addEventListener("load", onLoad, { once: true });
    picture.src = address;
    return picture;
  });
}

/** A canvas that shows one frame of the clip with one map over it. */
function makeScreen(scene, width = 480) {
  const [, h, w] = scene.size;
  const curve = scene.media.kind === "curve";
  const ratio = curve ? 0.5 : Math.min(2, h / w);
  const wide = curve ? 960 : Math.max(Math.min(w * Math.ceil(width / w), 1024), 64);
  const canvas = el("canvas", { class: "screen", role: "img", width: wide, height: Math.max(1, Math.round(wide * ratio)) });
  canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  return { node: canvas, map: null, draw(state, words) {
    if (curve) drawCurve(canvas, scene, this.map, state);
    else drawFrame(canvas, scene, this.map, state, state.frame);
    canvas.setAttribute("aria-label", words ?? "");
  } };
}

function drawFrame(canvas, scene, map, state, frame) {
  const context = canvas.getContext("2d");
  const { size, pictures } = scene;
  context.imageSmoothingQuality = "high";
  context.globalAlpha = 1;
  context.fillStyle = "#101114";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const picture = pictures[Math.min(frame, pictures.length - 1)];
  const shown = Boolean(picture?.complete && picture.naturalWidth);
  const drawn = map && state.overlay && !map.constant;
  if (shown) {
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (drawn) soften(context, canvas);
  }
  if (!drawn) return;
  const finest = Math.min(1, FINEST / Math.max(size[1], size[2]), canvas.width / size[2]);
  const [height, width] = [Math.max(1, Math.round(size[1] * finest)), Math.max(1, Math.round(size[2] * finest))];
  context.globalAlpha = state.opacity;
  context.drawImage(overlay(map, frame, size, height, width, !shown), 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
}

/** Takes some colour and light out of a frame, so that the tube's colours speak. */
function soften(context, canvas) {
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "rgb(128 128 128 / 0.6)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  context.fillStyle = "rgb(10 11 14 / 0.22)";
  context.fillRect(0, 0, canvas.width, canvas.height);
}

const ROWS = 6;

/** A signal as curves, one row per channel, with the map as a coloured band behind them and along the bottom. */
function drawCurve(canvas, scene, map, state) {
  const context = canvas.getContext("2d");
  const rows = (scene.media.curve ?? []).slice(0, ROWS);
  const style = getComputedStyle(document.documentElement);
  const [ink, line, paper, muted] = ["--ink", "--line", "--paper", "--muted"].map((name) => resolved(style, name));
  const { width, height } = canvas;
  const [left, right, bottom, band] = [78, 12, 48, 18];
  const inner = width - left - right;
  const plot = height - bottom - band - 14;
  const length = scene.size[2];
  context.fillStyle = paper;
  context.fillRect(0, 0, width, height);
  context.font = "20px system-ui, sans-serif";
  if (map && state.overlay && !map.constant) {
    const steps = Math.min(inner, 1024, Math.max(length, 2));
    const values = spread(map, sliceAt(map, 0, 1), scene.size, 1, steps);
    context.globalAlpha = state.opacity;
    context.drawImage(coloured(values, steps, 1, false), left, 8, inner, plot);
    context.globalAlpha = 1;
    context.drawImage(coloured(values, steps, 1, true), left, 8 + plot + 4, inner, band);
  }
  rows.forEach((row, i) => drawRow(context, row, { left, inner, top: 8 + (i * plot) / rows.length, tall: plot / rows.length, ink, line, muted, paper }));
  context.fillStyle = muted;
  context.strokeStyle = line;
  for (const x of ticks(length - 1)) {
    const at = left + ((x + 0.5) / length) * inner;
    context.textAlign = "center";
    context.fillText(String(x), at, height - 12);
    context.beginPath();
    context.moveTo(at, 8 + plot + 4 + band);
    context.lineTo(at, 8 + plot + 10 + band);
    context.stroke();
  }
}

function resolved(style, name) {
  const probe = resolved.probe ??= document.body.appendChild(el("span", { class: "unseen", "aria-hidden": "true" }));
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function drawRow(context, row, place) {
  const { left, inner, top, tall } = place;
  let [low, high] = [Infinity, -Infinity];
  for (const value of row) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const span = high - low || 1;
  context.strokeStyle = place.line;
  context.lineWidth = 1;
  context.strokeRect(left, top + 0.5, inner, tall - 1);
  context.fillStyle = place.muted;
  context.textAlign = "right";
  context.fillText(number(high, 2), left - 8, top + 20);
  if (tall > 48) context.fillText(number(low, 2), left - 8, top + tall - 6);
  context.beginPath();
  row.forEach((value, i) => {
    const x = left + ((i + 0.5) / row.length) * inner;
    const y = top + 6 + (1 - (value - low) / span) * (tall - 12);
    if (i) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  context.lineJoin = "round";
  context.lineWidth = 6;
  context.strokeStyle = place.paper;
  context.stroke();
  context.lineWidth = 2.5;
  context.strokeStyle = place.ink;
  context.stroke();
}

function ticks(last) {
  if (last <= 0) return [0];
  const raw = last / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw));
  const out = [];
  for (let x = 0; x <= last; x += step) out.push(Math.round(x));
  return out;
}

// ------------------------------------------------------------------------------------------- legend

/** The colour scale with its ends, its unit and how it was made. */
function colourLegend(map, what) {
  if (!map) return el("p", { class: "note", text: `No tube was kept for ${what}.` });
  if (map.constant) return el("p", { class: "note", text: `Constant: this map has the same value everywhere (${number(map.max)}), so there is nothing to draw.` });
  const { low, high, unit } = map.scale;
  const canvas = el("canvas", { class: "ramp", width: 256, height: 1, role: "img", "aria-label": `colour scale from ${number(low)} to ${number(high)}, ${unit}` });
  const levels = Float32Array.from({ length: 256 }, (_, i) => i);
  canvas.getContext("2d").drawImage(coloured(levels, 256, 1, true), 0, 0);
  return el("div", { class: "colours" },
    el("div", { class: "ramp-row" }, el("span", { text: number(low) }), canvas, el("span", { text: number(high) }), el("span", { class: "unit", text: unit })),
    el("p", { class: "note", text: scaleWords(map) }));
}

function scaleWords(map) {
  const { low, high } = map.scale;
  const rounded = (value) => (value !== null && Math.abs(value) < 1e-6 * Math.abs(high) ? 0 : value);
  const ends = `${number(low)} to ${number(high)}; this map's own range is ${number(rounded(map.min))} to ${number(rounded(map.max))}.`;
  const own = map.kind === "evidence" || map.kind === "against";
  const words = [own ? `One scale for what speaks for the class and against it: ${ends}` : `One scale for depth ${map.depth}: ${ends}`];
  if (own && map.min < low) words.push(map.kind === "evidence" ? "What speaks against the class is another map." : "What speaks for the class is another map.");
  else if (map.min < low) words.push(map.kind === "relevance" ? "Negative relevance is drawn as nothing." : "Negative values are drawn by their size.");
  if (map.max > high) words.push("Values above it are drawn in the last colour.");
  return words.join(" ");
}
