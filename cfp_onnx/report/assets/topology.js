/* Every layer of the network from the input at the left to the class at the right: columns by depth, branches in rows. */

const PITCH = { x: 96, y: 58 };
const NODE = { w: 74, h: 38 };
const STEPS = 6;

function makeTopology(model, app) {
  const box = byId("network-box");
  const { topology } = model;
  if (!topology) {
    byId("network-intro").textContent = "The network's topology was not stored with this report.";
    box.hidden = true;
    return { mark() {} };
  }
  const plan = layout(model);
  const view = { measure: "concentration", zoom: 1, nodes: new Map(), drawn: false, marks: new Map() };
  let tabbed = null;

  byId("network-intro").textContent = `${count(topology.layers.length, "layer")} in the order of the data: input at the left, the class at the right, parallel paths one below the other. `
    + "A layer's colour tells how its relevance is spread; choose a layer to open it.";
  byId("network-note").replaceWith(jointList(model));

  const measures = {
    concentration: {
      label: "concentration of relevance",
      words: "share of a layer's positive relevance that its strongest tenth of kernels holds",
      of: concentration,
      ...ends(model.layers.filter((x) => x.walked && x.depth > 0).map(concentration)),
    },
    chosen: {
      label: "share of kernels chosen",
      words: "share of a layer's kernels that were chosen",
      of: (layer) => (layer.walked && layer.largest > 0 ? layer.chosen.length / layer.kernels : null),
      ...ends(model.layers.filter((x) => x.walked && x.depth > 0).map((x) => x.chosen.length / x.kernels)),
    },
  };

  function draw() {
    view.drawn = true;
    view.nodes.clear();
    const root = svg("svg", { class: plan.wires.length > 3 * plan.spots.size ? "net crowded" : "net", viewBox: `0 0 ${plan.width} ${plan.height}`, role: "group", "aria-label": "layers of the network; arrow keys move between layers, Enter opens one" });
    root.append(...wirePaths(), ...plan.ends.map(endNode));
    for (const spot of plan.spots.values()) root.append(layerNode(spot));
    box.replaceChildren(root);
    view.root = root;
    drawMini();
    paint();
    rove(view.nodes.get(app.state.layer) ?? view.nodes.get(model.classifier) ?? view.nodes.values().next().value);
    mark();
  }

  /** All layers on one line's height, with a window that shows what the box shows; a click goes there. */
  function drawMini() {
    view.mini = svg("svg", { class: "mini", viewBox: `0 0 ${plan.width} ${plan.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const [index, { x, y }] of plan.spots) {
      const face = svg("rect", { class: "face", x: x - 4, y, width: NODE.w + 8, height: NODE.h });
      view.marks.set(index, face);
      view.mini.append(face);
    }
    view.window = svg("rect", { class: "window", y: 0, height: plan.height });
    view.mini.append(view.window);
    const go = (event) => {
      const at = view.mini.getBoundingClientRect();
      box.scrollLeft = ((event.clientX - at.left) / at.width) * box.scrollWidth - box.clientWidth / 2;
    };
    view.mini.addEventListener("pointerdown", (event) => { go(event); view.mini.setPointerCapture(event.pointerId); });
    view.mini.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
    box.before(view.mini);
    box.addEventListener("scroll", frameMini, { passive: true });
    new ResizeObserver(frameMini).observe(box);
  }

  function frameMini() {
    if (!box.isConnected) return; // another answer took its place
    view.mini.toggleAttribute("hidden", box.scrollWidth <= box.clientWidth + 1);
    view.window.setAttribute("x", (box.scrollLeft / box.scrollWidth) * plan.width);
    view.window.setAttribute("width", Math.min(1, box.clientWidth / box.scrollWidth) * plan.width);
  }

  function wirePaths() {
    const parts = new Map(VIAS.map((via) => [via, []]));
    for (const wire of plan.wires) (parts.get(wire.via) ?? parts.get("chain")).push(wireCurve(wire));
    return [...parts].filter(([, list]) => list.length).map(([via, list]) => svg("path", { class: `link ${via} w2`, d: list.join("") }));
  }

  function endNode(end) {
    return svg("g", { class: "end" },
      svg("rect", { x: end.x, y: end.y, width: NODE.w, height: NODE.h, rx: 19 }),
      svg("text", { x: end.x + NODE.w / 2, y: end.y + NODE.h / 2 + 4, text: shortened(end.text, 11) }),
      svg("title", { text: titled(end.text) }));
  }

  function layerNode({ layer, x, y }) {
    const shape = layer.kernel_shape.length ? layer.kernel_shape.join("\u00d7") : layer.family || layer.op;
    const fibers = layer.groups > 1 && layer.family !== "depthwise";
    const node = svg("g", { class: "layer", role: "button", tabindex: -1, data: { layer: layer.index } },
      fibers ? svg("rect", { class: "behind", x: x + 4, y: y - 4, width: NODE.w, height: NODE.h, rx: 6 }) : null,
      svg("rect", { class: "face", x, y, width: NODE.w, height: NODE.h, rx: 6 }),
      svg("text", { x: x + NODE.w / 2, y: y + 16, text: shape }),
      svg("text", { class: "small", x: x + NODE.w / 2, y: y + 30, text: fibers ? `${layer.kernels} in ${layer.groups}` : layer.kernels }),
      svg("title", {}));
    view.nodes.set(layer.index, node);
    return node;
  }

  function paint() {
    const { of, least, most, words } = measures[view.measure];
    for (const [index, node] of view.nodes) {
      const layer = model.layers[index];
      const root = index === model.classifier;
      const value = root ? null : of(layer);
      const step = root ? "root" : value === null ? (layer.walked && layer.paths !== "none" ? "held" : "unwalked") : `q${Math.max(0, Math.min(STEPS - 1, Math.floor(((value - least) / (most - least)) * STEPS)))}`;
      node.setAttribute("class", `layer ${step}${app.state.layer === index ? " selected" : ""}`);
      view.marks.get(index).setAttribute("class", `face ${step}`);
      const tail = root ? "the classifier" : value === null ? (layer.walked ? whyEmpty(model, layer) : "not walked") : `${words}: ${percent(value)}`;
      const text = `${shortened(layer.name, 120)}, ${layer.about}, ${count(layer.kernels, "kernel")}, ${layer.depth === null ? "not upstream of the class" : `depth ${layer.depth}`}; ${tail}`;
      node.querySelector("title").textContent = text;
      node.setAttribute("aria-label", text);
    }
    legend(measures[view.measure]);
  }

  function legend({ words, least, most }) {
    const swatches = Array.from({ length: STEPS }, (_, i) => el("span", { class: `swatch q${i}` }));
    byId("network-legend").replaceChildren(
      el("span", { class: "legend-item" }, el("span", { text: percent(least) }), el("span", { class: "swatches" }, swatches), el("span", { text: percent(most) }), el("span", { text: words })),
      el("span", { class: "legend-item" }, el("span", { class: "swatch held" }), heldIn(model.run).length ? "held or silent" : "silent"),
      el("span", { class: "legend-item" }, el("span", { class: "swatch unwalked" }), "not walked"),
      ...linkLegend(model.run, new Set(plan.wires.map((wire) => wire.via)), plan.fibers));
  }

  function mark() {
    if (!view.drawn) return;
    for (const [index, node] of view.nodes) node.classList.toggle("selected", index === app.state.layer);
  }

  function rove(node, focus = false) {
    if (!node) return;
    tabbed?.setAttribute("tabindex", "-1");
    tabbed = node;
    node.setAttribute("tabindex", "0");
    if (focus) {
      node.focus({ preventScroll: true });
      node.scrollIntoView({ block: "nearest", inline: "center" });
    }
  }

  function zoom(value) {
    view.zoom = value;
    view.root.setAttribute("width", Math.round(plan.width * value));
    view.root.setAttribute("height", Math.round(plan.height * value));
    frameMini();
  }

  function fitting() {
    return Math.max(0.1, Math.min(1.15, (box.clientWidth - 2) / plan.width));
  }

  function tools() {
    const measure = el("select", { on: { change: () => { view.measure = measure.value; paint(); } } },
      Object.entries(measures).map(([key, { label }]) => option(key, label, key === view.measure)));
    const slider = el("input", { type: "range", min: 10, max: 160, step: 1, on: { input: () => zoom(slider.value / 100) } });
    const apply = (value) => { zoom(value); slider.value = Math.round(value * 100); };
    byId("network-tools").append(labelled("Colour", measure), labelled("Zoom", slider),
      el("button", { type: "button", text: "Fit", on: { click: () => apply(fitting()) } }),
      el("button", { type: "button", text: "100\u00a0%", on: { click: () => apply(1) } }));
    return apply;
  }

  box.addEventListener("click", (event) => {
    const from = event.target.closest(".layer");
    if (from) app.selectLayer(Number(from.dataset.layer), { show: true });
  });
  box.addEventListener("keydown", (event) => {
    const from = event.target.closest(".layer");
    if (!from) return;
    const here = plan.spots.get(Number(from.dataset.layer));
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      app.selectLayer(here.layer.index, { show: true });
    }
    const next = neighbour(plan, here, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next) rove(view.nodes.get(next.layer.index), true);
  });

  whenSeen(box, () => {
    draw();
    const fit = fitting();
    const apply = tools();
    apply(fit >= 0.6 ? fit : 0.75);
    box.scrollLeft = box.scrollWidth;
  });
  return { mark };
}

/** The range of some shares in whole steps of five percent, never empty. */
function ends(shares) {
  const found = shares.filter((share) => share !== null);
  const least = Math.floor(Math.min(1, ...found) * 20) / 20;
  const most = Math.ceil(Math.max(0, ...found) * 20) / 20;
  return found.length && most > least ? { least, most } : { least: 0, most: 1 };
}

/** Share of the positive relevance in the strongest tenth of the kernels; null where there is none. */
function concentration(layer) {
  if (!layer.walked || layer.top <= 0) return null;
  const few = Math.max(1, Math.round(layer.kernels / 10));
  let [part, sum] = [0, 0];
  ordered(layer).forEach((kernel, rank) => {
    const value = Math.max(0, layer.relevance[kernel]);
    sum += value;
    if (rank < few) part += value;
  });
  return part / sum;
}

/** Columns by the longest path to the end, rows so that a layer stands in line with its reader where that is free. */
function layout(model) {
  const { topology } = model;
  const wires = [];
  for (const wire of topology.wires) wire.from.forEach((from, i) => wires.push({ from, to: wire.layer, via: wire.via[i] }));
  const readers = new Map();
  for (const wire of wires) if (wire.from !== null) {
    if (!readers.has(wire.from)) readers.set(wire.from, []);
    readers.get(wire.from).push(wire);
  }
  const column = new Map();
  for (const { layer, depth } of [...topology.layers].reverse()) {
    column.set(layer, depth ?? Math.max(0, ...(readers.get(layer) ?? []).map((wire) => (column.get(wire.to) ?? 0) + 1)));
  }
  const deepest = Math.max(0, ...column.values());
  const row = rowsOf(topology, column, readers);
  const lowest = Math.min(0, ...row.values());
  const arcs = 46;
  const place = (col, r) => ({ x: 12 + (deepest + 1 - col) * PITCH.x, y: arcs + (r - lowest) * PITCH.y });
  const spots = new Map();
  for (const { layer } of topology.layers) {
    spots.set(layer, { layer: model.layers[layer], column: column.get(layer), row: row.get(layer), ...place(column.get(layer), row.get(layer)) });
  }
  const end = model.classifier === null ? 0 : row.get(model.classifier) ?? 0;
  const first = wires.find((wire) => wire.from === null);
  const start = first ? row.get(first.to) : 0;
  const ends = [{ ...place(deepest + 1, start), text: "input" }, { ...place(-1, end), text: className(model.target, 200) }];
  const all = wires.map((wire) => ({ via: wire.via, a: wire.from === null ? ends[0] : spots.get(wire.from), b: spots.get(wire.to), away: wire.from === null ? 1 : column.get(wire.from) - column.get(wire.to) }));
  if (model.classifier !== null && spots.has(model.classifier)) all.push({ via: "chain", a: spots.get(model.classifier), b: ends[1], away: 1 });
  return {
    spots, ends, wires: all, fibers: topology.fibers.length > 0,
    width: 24 + (deepest + 3) * PITCH.x, height: arcs + (wires.some((wire) => wire.via === "gate") ? 34 : 14) + (Math.max(0, ...row.values()) - lowest) * PITCH.y + NODE.h,
  };
}

const PULL = { chain: 0, branch: 1, shortcut: 2, gate: 3 };

function rowsOf(topology, column, readers) {
  const columns = new Map();
  for (const { layer } of topology.layers) {
    const at = column.get(layer);
    if (!columns.has(at)) columns.set(at, []);
    columns.get(at).push(layer);
  }
  const row = new Map();
  for (const at of [...columns.keys()].sort((a, b) => a - b)) {
    const wishes = columns.get(at).map((layer) => ({ layer, ...wish(layer, readers, row) }));
    wishes.sort((a, b) => a.pull - b.pull || a.row - b.row);
    const taken = new Set();
    for (const one of wishes) {
      let [free, step] = [one.row, 0];
      while (taken.has(free)) {
        step = step > 0 ? -step : 1 - step;
        free = one.row + step;
      }
      taken.add(free);
      row.set(one.layer, free);
    }
  }
  return row;
}

function wish(layer, readers, row) {
  const read = (readers.get(layer) ?? []).filter((wire) => row.has(wire.to));
  if (!read.length) return { row: 0, pull: 0 };
  const cost = (wire) => PULL[wire.via] * 1000 + Math.abs(row.get(wire.to));
  const main = read.reduce((a, b) => (cost(b) < cost(a) ? b : a));
  return { row: row.get(main.to) + (main.via === "gate" ? 1 : 0), pull: PULL[main.via] };
}

function wireCurve({ a, b, via, away }) {
  const below = via === "gate";
  if (away > 1 && a.y === b.y) {
    const edge = a.y + (below ? NODE.h : 0);
    const high = Math.min(40, 12 + away * 5) * (below ? 1.3 : -1.3);
    const [x1, x2] = [a.x + NODE.w * 0.7, b.x + NODE.w * 0.3];
    const reach = Math.min(60, (x2 - x1) / 3);
    return `M${x1} ${edge}C${x1 + reach * 0.3} ${edge + high} ${x2 - reach * 0.3} ${edge + high} ${x2} ${edge}`;
  }
  const [x1, y1, x2, y2] = [a.x + NODE.w, a.y + NODE.h / 2, b.x, b.y + NODE.h / 2];
  if (y1 === y2) return `M${x1} ${y1}H${x2}`;
  const bend = Math.max(10, Math.min(60, (x2 - x1) / 2));
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
}

/** The layer that an arrow key leads to; null at a border, undefined for other keys. */
function neighbour(plan, here, key) {
  const spots = [...plan.spots.values()];
  const nearest = (list, cost) => list.reduce((a, b) => (a === null || cost(b) < cost(a) ? b : a), null);
  if (key === "ArrowLeft") return nearest(spots.filter((s) => s.column > here.column), (s) => (s.column - here.column) * 100 + Math.abs(s.row - here.row));
  if (key === "ArrowRight") return nearest(spots.filter((s) => s.column < here.column), (s) => (here.column - s.column) * 100 + Math.abs(s.row - here.row));
  if (key === "ArrowUp") return nearest(spots.filter((s) => s.column === here.column && s.row < here.row), (s) => here.row - s.row);
  if (key === "ArrowDown") return nearest(spots.filter((s) => s.column === here.column && s.row > here.row), (s) => s.row - here.row);
  if (key === "Home") return nearest(spots, (s) => -s.column);
  if (key === "End") return nearest(spots, (s) => s.column);
  return undefined;
}

/** Samples of the lines that occur. */
function linkLegend(run, vias, fibers) {
  const words = { chain: "chain", branch: "branch", shortcut: "shortcut (into an Add)", gate: heldIn(run).includes("gates") ? "gate (held)" : "gate" };
  const sample = (look) => svg("svg", { width: 44, height: 12, "aria-hidden": "true" }, svg("path", { class: `link ${look}`, d: "M2 6H42" }));
  const items = VIAS.filter((via) => vias.has(via)).map((via) => el("span", { class: "legend-item" }, sample(`${via} w3`), words[via]));
  if (fibers) items.push(el("span", { class: "legend-item" }, el("span", { class: "fiber-mark" }), "fibers (groups)"));
  return items;
}

/** Where paths meet, in words, opened on demand. */
function jointList(model) {
  const { joints, fibers } = model.topology;
  const kinds = (list) => {
    const seen = new Map();
    for (const joint of list) seen.set(joint.kind, (seen.get(joint.kind) ?? 0) + 1);
    return [...seen].filter(([kind]) => kind !== "gate").map(([kind, n]) => `${n} ${kind}`).join(", ");
  };
  const titles = { branches: "branch", shortcuts: "shortcut", gates: "gate" };
  const parts = Object.entries(titles).filter(([key]) => joints[key].length).map(([key, noun]) => {
    const what = kinds(joints[key]);
    return `${count(joints[key].length, noun)}${what ? ` (${what})` : ""}`;
  });
  if (fibers.length) parts.push(`fibers in ${count(fibers.length, "layer")}`);
  const body = el("ul", { class: "joints" });
  const details = el("details", { class: "note" }, el("summary", { text: parts.length ? `Paths meet: ${parts.join(", ")}` : "One chain: no branches, shortcuts, gates or fibers" }), body);
  details.addEventListener("toggle", () => {
    if (!details.open || body.childElementCount) return;
    const path = (one) => one.map((i) => model.layers[i].short).slice(0, 4).join(", ") + (one.length > 4 ? ` and ${one.length - 4} more` : "") || "the input";
    for (const key of Object.keys(titles)) for (const joint of joints[key].slice(0, 200)) {
      body.append(el("li", {}, el("strong", { text: titles[key] }), ` ${shortened(joint.node)}${joint.kind === "gate" ? "" : ` (${joint.kind})`}: ${joint.paths.map(path).join(" | ")}`));
    }
    for (const fiber of fibers.slice(0, 200)) body.append(el("li", {}, el("strong", { text: "fibers" }), ` ${model.layers[fiber.layer].short}: ${fiber.groups}${fiber.split ? ", spelled as Split and Concat" : ""}`));
  });
  return details;
}
