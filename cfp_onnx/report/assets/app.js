/* One state, and the views that follow it. */

const RATE = 8;

/** The page's one state; another answer of the same page starts where `before` left off. */
function makeApp(model, before = {}) {
  const [frames] = model.media.size;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const state = {
    frame: brightest(model), depth: firstDepth(model), opacity: 0.7, overlay: true,
    selected: null, pinned: null, layer: null, ...before, playing: false,
  };
  const listeners = new Map();
  const screens = new Map();
  const app = { model, state, scene: { media: model.media, size: model.media.size, pictures: [] } };

  /** Calls back now and whenever a topic changes: frame, playing, depth, look. */
  app.on = (topic, call) => {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(call);
    call(state);
  };

  function tell(topic) {
    for (const call of listeners.get(topic) ?? []) call(state);
  }

  app.set = (patch) => {
    const changed = Object.keys(patch).filter((key) => state[key] !== patch[key]);
    Object.assign(state, patch);
    if (changed.includes("depth")) tell("depth");
    if (changed.includes("frame")) tell("frame");
    if (changed.includes("playing")) { tell("playing"); play(); }
    if (changed.includes("opacity") || changed.includes("overlay")) tell("look");
    if (changed.some((key) => ["frame", "opacity", "overlay"].includes(key))) redraw();
  };

  // --------------------------------------------------------------------------------------- screens

  /** Redraws a canvas whenever the frame or the look changes, as long as it can be seen. */
  app.showing = (node, draw) => {
    screens.set(node, { draw, seen: true });
    watch.observe(node);
  };

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const screen = screens.get(entry.target);
      if (!screen) continue;
      if (!entry.target.isConnected) {
        watch.unobserve(entry.target);
        screens.delete(entry.target);
      } else {
        screen.seen = entry.isIntersecting;
        if (screen.seen) screen.draw();
      }
    }
  }, { rootMargin: "100px" });

  function redraw() {
    for (const [node, screen] of screens) {
      if (!node.isConnected) screens.delete(node);
      else if (screen.seen) screen.draw();
    }
  }
  app.redraw = redraw;

  let clock = 0;
  function play() {
    clearTimeout(clock);
    if (!state.playing) return;
    clock = setTimeout(() => {
      app.set({ frame: (state.frame + 1) % frames });
      play();
    }, 1000 / RATE);
  }

  // -------------------------------------------------------------------------------------- controls

  /** Play button and frame slider; nothing for a single picture. */
  app.transport = () => {
    if (frames < 2 || model.media.kind === "curve") return [];
    const button = el("button", { type: "button", class: "play", on: { click: () => app.set({ playing: !state.playing }) } });
    const slider = el("input", { type: "range", min: 0, max: frames - 1, step: 1, on: { input: () => app.set({ frame: Number(slider.value), playing: false }) } });
    const output = el("output", {});
    app.on("playing", () => {
      button.textContent = state.playing ? "Pause" : "Play";
      button.setAttribute("aria-label", state.playing ? "Pause" : "Play the clip");
    });
    app.on("frame", () => {
      slider.value = state.frame;
      output.textContent = `${state.frame + 1}/${frames}`;
      slider.setAttribute("aria-valuetext", `frame ${state.frame + 1} of ${frames}`);
    });
    const field = labelled("Frame", slider, output);
    field.classList.add("wide");
    return [el("div", { class: "transport" }, button, field)];
  };

  app.overlayFields = () => {
    if (!model.tubes.maps.length) return [];
    const box = el("input", { type: "checkbox", on: { change: () => app.set({ overlay: box.checked }) } });
    const slider = el("input", { type: "range", min: 0, max: 100, step: 1, on: { input: () => app.set({ opacity: slider.value / 100 }) } });
    const output = el("output", {});
    app.on("look", () => {
      box.checked = state.overlay;
      slider.value = Math.round(state.opacity * 100);
      output.textContent = percent(state.opacity);
    });
    return [labelled("Opacity", slider, output), labelled("Tube", box)];
  };

  app.depthField = (text) => {
    const { depths } = model;
    if (depths.length < 2) return null;
    const slider = el("input", { type: "range", min: 0, max: depths.length - 1, step: 1, on: { input: () => app.set({ depth: depths[Number(slider.value)] }) } });
    const output = el("output", {});
    app.on("depth", () => {
      slider.value = depths.indexOf(state.depth);
      output.textContent = `${state.depth}/${model.deepest}`;
      slider.setAttribute("aria-valuetext", `depth ${state.depth} of ${model.deepest}`);
    });
    return labelled(text, slider, output);
  };

  // ------------------------------------------------------------------------------------- selection

  app.select = (key, { show = false } = {}) => {
    const layer = model.layers[layerOf(key)];
    state.selected = key;
    state.layer = layer.index;
    after(layer, show);
    byId("live").textContent = announcement(key);
  };

  app.selectLayer = (index, { show = false } = {}) => {
    state.selected = null;
    state.layer = index;
    after(model.layers[index], show);
    byId("live").textContent = `layer ${model.layers[index].short}, ${model.layers[index].about}`;
  };

  app.pin = (key) => {
    state.pinned = key;
    app.detail.draw();
    app.pyramid.mark();
    byId("live").textContent = key === null ? "nothing pinned" : `${kernelName(model, key)} pinned; choose another kernel to compare`;
    byId("detail").querySelector(".toolbar button")?.focus({ preventScroll: true });
  };

  function after(layer, show) {
    const far = Math.abs(layer.depth - state.depth) > app.pyramid.view.near;
    if (layer.depth > 0 && model.byDepth.has(layer.depth) && (show || far) && layer.depth !== state.depth) {
      app.set({ depth: layer.depth });
      app.pyramid.draw();
    }
    if (started) byId("detail").classList.remove("folded");
    app.detail.draw();
    app.pyramid.mark();
    app.topology.mark();
    if (show) {
      app.pyramid.reveal(layer.depth);
      byId("detail-title").focus({ preventScroll: true });
    }
  }

  function announcement(key) {
    const layer = model.layers[layerOf(key)];
    if (key === model.root) return `class ${className(model.target)}`;
    return `kernel ${kernelOf(key)} of ${layer.short}, depth ${layer.depth}, ${percent(shareOf(layer, kernelOf(key)))} of the layer's strongest`;
  }

  let started = false;
  app.settled = () => { started = true; };

  app.start = () => {
    app.scene.pictures = readFrames(model.media, () => requestRedraw());
    calm.addEventListener("change", () => { if (calm.matches) app.set({ playing: false }); });
    if (before.playing ?? (frames > 1 && model.media.kind !== "curve" && !calm.matches)) app.set({ playing: true });
  };

  let asked = false;
  function requestRedraw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; redraw(); tell("look"); });
  }
  return app;
}

/** The first depth with kernels or a tube to show. */
function firstDepth(model) {
  return model.depths.find((depth) => model.classMaps.has(depth) && !model.classMaps.get(depth).constant)
    ?? model.depths.find((depth) => model.byDepth.get(depth).some((i) => model.layers[i].chosen.length)) ?? model.depths[0] ?? 1;
}

/** The frame at which the first class tube is strongest: the one to show while nothing moves. */
function brightest(model) {
  const map = model.evidence.get("evidence") ?? model.classMaps.get(firstDepth(model));
  const [frames] = model.media.size;
  if (!map || map.constant || frames < 2) return 0;
  const [t, h, w] = map.shape;
  const levels = levelsOf(map);
  let [best, most] = [0, -1];
  for (let i = 0; i < t; i += 1) {
    let sum = 0;
    for (let j = i * h * w; j < (i + 1) * h * w; j += 1) sum += levels[j];
    if (sum > most) [best, most] = [i, sum];
  }
  return Math.max(0, Math.min(frames - 1, Math.round(map.centres[0][best])));
}

// --------------------------------------------------------------------------------------------- theme

function makeTheme(redraw) {
  const button = byId("theme");
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const show = () => {
    button.textContent = now() === "dark" ? "Light theme" : "Dark theme";
    redraw();
  };
  button.addEventListener("click", () => { root.dataset.theme = now() === "dark" ? "light" : "dark"; show(); });
  dark.addEventListener("change", show);
  show();
}

function begin() {
  const payload = JSON.parse(byId("payload").textContent);
  byId("payload").remove();
  readColours(payload.colormap);
  const blank = document.querySelector("main").cloneNode(true);
  let app = null;
  const show = (place, before) => {
    const model = readModel(answered(payload, place));
    app = makeApp(model, before);
    makeAnswer(model, app);
    makeFacts(model);
    makeSwitch(payload, place, (next) => {
      const { playing, ...rest } = app.state;
      app.set({ playing: false });
      const top = window.scrollY;
      document.querySelector("main").replaceWith(blank.cloneNode(true));
      delete document.documentElement.dataset.ready;
      show(next, { ...rest, playing });
      window.scrollTo({ top, behavior: "instant" });
      byId("answer-switch").querySelector("select").focus({ preventScroll: true });
      byId("live").textContent = byId("answer-question").textContent;
    });
    app.start();
    performance.mark("cfp-answer");
    const mine = app;
    // the rest after the browser had a chance to paint the answer
    requestAnimationFrame(() => setTimeout(() => { if (mine === app) makeRest(model, mine); }));
  };
  show(0, {});
  makeTheme(() => app.redraw());
}

/** The pyramid, the network, the panel and the tables. */
function makeRest(model, app) {
  app.pyramid = makePyramid(model, app);
  app.topology = makeTopology(model, app);
  app.detail = makeDetail(model, app);
  app.on("depth", app.pyramid.later);
  const first = model.depths.map((depth) => strongestAt(model, depth)).find(Boolean);
  byId("link-legend").append(...linkLegend(model.run, new Set(model.links.via), model.layers.some((x) => x.walked && x.groups > 1 && x.family !== "depthwise")),
    el("span", { class: "legend-item note", text: "wider: a larger part of what the kernel above receives; small pictures: the tube's maximum over time" }));
  app.pyramid.draw();
  if (app.state.selected !== null) app.select(app.state.selected);
  else if (app.state.layer !== null) app.selectLayer(app.state.layer);
  else if (first) app.select(keyOf(first.layer.index, first.kernel));
  else if (model.root !== null) app.select(model.root);
  app.settled();
  makeTables(model, app);
  performance.mark("cfp-ready");
  document.documentElement.dataset.ready = "";
  drain();
}

begin();
