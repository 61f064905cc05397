/* The pyramid by depth: rows of layers, kernels as buttons in document order, links as a few paths behind them. */

const VIAS = ["chain", "branch", "shortcut", "gate"];
const ALL_AT_ONCE = 180;
const MOST_LINKS = 3000;
const MORE = 48;
const INPUTS = 12;

/** Widths in pixels: a kernel with its gap, and what a layer takes where there is room. */
const CHIP = 62;
const COMFORTABLE = 210;

function makePyramid(model, app) {
  const box = byId("pyramid-box");
  const note = byId("pyramid-note");
  const view = { perLayer: 8, near: null, more: new Map(), matches: null, spots: new Map() };
  const nodes = model.depths.reduce((sum, depth) => sum + shownAt(depth), 0);
  view.near = nodes > ALL_AT_ONCE || model.depths.length > 24 ? 2 : Infinity;
  let sheet = null;
  let tabbed = null;

  function shownAt(depth) {
    return model.byDepth.get(depth).reduce((sum, i) => sum + Math.min(model.layers[i].chosen.length, 8), 0);
  }

  function limitOf(layer) {
    return view.perLayer + (view.more.get(layer.index) ?? 0);
  }

  let asked = 0;
  /** Draws with the next frame, once, however often it is asked for. */
  function later() {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(draw);
  }

  function draw() {
    cancelAnimationFrame(asked);
    const focus = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    view.spots.clear();
    const depths = model.depths.filter((depth) => Math.abs(depth - app.state.depth) <= view.near);
    const rows = [classRow()];
    const skipped = depths.length ? depths[0] - model.depths[0] : 0;
    if (skipped > 0) rows.push(gap(`${count(skipped, "depth")} between the class and depth ${depths[0]} not drawn; move the depth slider`));
    rows.push(...depths.map(depthRow));
    if ((depths.at(-1) ?? 0) === model.deepest) rows.push(inputRow());
    else if (depths.length) rows.push(gap(`${count(model.deepest - depths.at(-1), "deeper depth")} not drawn; move the depth slider`));
    sheet = el("div", { class: "sheet" }, el("div", { class: "rows" }, rows.filter(Boolean)));
    box.replaceChildren(sheet);
    tabbed = null;
    rove(chipOf(app.state.selected) ?? box.querySelector(".chip"));
    link();
    mark();
    box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2;
    if (focus) rove(chipOf(Number(focus)) ?? tabbed, true);
  }

  function gap(text) {
    return el("p", { class: "gap", text });
  }

  function classRow() {
    if (model.root === null) return null;
    const chip = el("button", { type: "button", class: "chip class-chip", tabindex: -1, data: { key: model.root } },
      el("strong", { text: className(model.target), title: titled(model.target.label ?? "") }),
      el("span", { text: `score ${number(model.target.score)}` }));
    view.spots.set(`k${model.root}`, chip);
    return row("class", [el("div", { class: "group bare" }, chip)], 0);
  }

  function depthRow(depth) {
    const layers = model.byDepth.get(depth);
    const wide = (box.clientWidth - 110) / layers.length - 22;
    return row(`depth ${depth}`, layers.map((i) => group(model.layers[i], wide)), depth);
  }

  function row(title, groups, depth) {
    const here = depth === app.state.depth;
    return el("div", { class: here ? "row here" : "row", data: { depth } },
      el("div", { class: "row-label", text: title }), el("div", { class: "groups" }, groups));
  }

  function group(layer, wide) {
    const limit = limitOf(layer);
    const shown = layer.chosen.slice(0, limit);
    const rest = layer.chosen.length - shown.length;
    const fibers = layer.groups > 1 && layer.family !== "depthwise";
    const node = el("section", { class: `group${shown.length ? "" : " empty"}${fibers ? " fibers" : ""}`, "aria-label": `layer ${layer.short}` },
      el("header", {},
        el("button", { type: "button", class: "layer-name", tabindex: -1, title: titled(layer.name), data: { layer: layer.index } }, breakable(layer.short)),
        layer.module ? el("span", { class: "layer-kind mono", title: titled(layer.module) }, breakable(shortened(layer.module, LONGEST_NAME))) : null,
        el("span", { class: "layer-kind", text: layer.kind }),
        el("span", { class: "layer-kind", text: shown.length ? `${layer.chosen.length} of ${layer.kernels} chosen` : whyEmpty(model, layer) })));
    const across = Math.max(2, Math.min(8, Math.floor((wide - 26) / CHIP), shown.length + (fibers ? 1 : 0)));
    node.style.width = `${Math.max(Math.min(COMFORTABLE, wide), across * CHIP + 26)}px`;
    const chips = el("div", { class: "chips" });
    if (fibers) for (const [fiber, kernels] of byFiber(layer, shown)) {
      chips.append(el("div", { class: "fiber" }, el("span", { class: "fiber-name", text: `fiber ${fiber}` }), el("div", { class: "chips" }, kernels.map((k) => chip(layer, k)))));
    } else chips.append(...shown.map((k) => chip(layer, k)));
    if (rest) chips.append(el("button", { type: "button", class: "more", tabindex: -1, data: { more: layer.index }, text: `+${rest} more`, "aria-label": `${Math.min(rest, MORE)} more kernels of ${layer.short}` }));
    if (shown.length) node.append(chips);
    view.spots.set(`l${layer.index}`, node);
    return node;
  }

  function byFiber(layer, kernels) {
    const size = layer.kernels / layer.groups;
    const out = new Map();
    for (const kernel of kernels) {
      const fiber = Math.floor(kernel / size);
      if (!out.has(fiber)) out.set(fiber, []);
      out.get(fiber).push(kernel);
    }
    return [...out].sort((a, b) => a[0] - b[0]);
  }

  function chip(layer, kernel) {
    const key = keyOf(layer.index, kernel);
    const share = shareOf(layer, kernel);
    const map = model.maps.get(key);
    const bar = el("span", { class: "bar" });
    const fill = el("span", { class: share < 0 ? "against" : "for" });
    fill.style.width = `${Math.min(100, Math.abs(share ?? 0) * 100)}%`;
    bar.append(fill);
    const node = el("button", { type: "button", class: "chip", tabindex: -1, data: { key }, "aria-label": `kernel ${kernel} of ${layer.short}, ${percent(share)} of the layer's strongest` });
    if (map) node.append(thumb(map));
    else if (model.maps.size) node.append(el("span", { class: "thumb none", text: "\u2013", title: "no tube was kept" }));
    node.append(el("span", { class: "chip-name", text: kernel }), bar);
    view.spots.set(`k${key}`, node);
    return node;
  }

  function thumb(map) {
    if (map.constant) return el("span", { class: "thumb flat", text: "flat", title: "constant map" });
    const canvas = el("canvas", { class: "thumb", width: THUMB, height: THUMB, "aria-hidden": "true" });
    whenSeen(canvas, () => paintThumb(canvas, map), "100px");
    return canvas;
  }

  function inputRow() {
    const channels = new Set();
    const { links } = model;
    for (let s = 0; s < links.size; s += 1) if (links.from[s] < 0) channels.add(links.unit[s]);
    if (!channels.size) return null;
    const sorted = [...channels].sort((a, b) => a - b);
    const chips = sorted.slice(0, INPUTS).map((channel) => {
      const node = el("span", { class: "chip input-chip", text: `channel ${channel}` });
      view.spots.set(`i${channel}`, node);
      return node;
    });
    if (sorted.length > INPUTS) chips.push(el("span", { class: "note", text: `and ${sorted.length - INPUTS} more` }));
    return row("input", [el("div", { class: "group bare" }, el("div", { class: "chips" }, chips))], "input");
  }

  // ---------------------------------------------------------------------------------------- links

  function spotOf(layer, unit) {
    if (layer < 0) return view.spots.get(`i${unit}`);
    return view.spots.get(`k${keyOf(layer, unit)}`) ?? view.spots.get(`l${layer}`);
  }

  /** Draws links into a fresh SVG: one path element per look, whatever their number. */
  function link() {
    const frame = sheet.getBoundingClientRect();
    const places = new Map();
    for (const [key, node] of view.spots) {
      const at = node.getBoundingClientRect();
      places.set(node, { x: at.left - frame.left + at.width / 2, top: at.top - frame.top, bottom: at.bottom - frame.top, key });
    }
    view.places = places;
    const found = visibleLinks();
    const most = found.sort((a, b) => strength(model.links, b) - strength(model.links, a)).slice(0, MOST_LINKS);
    view.canvas = svg("svg", { class: "links", "aria-hidden": "true", width: Math.ceil(sheet.scrollWidth), height: Math.ceil(sheet.scrollHeight) },
      svg("g", { class: "base" }, paths(most)), svg("g", { class: "lit" }));
    sheet.querySelector(":scope > svg")?.remove();
    sheet.prepend(view.canvas);
    const left = found.length - most.length;
    note.textContent = [
      left ? `The ${grouped(most.length)} strongest of ${count(found.length, "link")} between the kernels shown are drawn.` : "",
      model.run.links_omitted ? `${count(model.run.links_omitted, "link")} were left out of the result where kernels tie.` : "",
      ...model.tubes.notes.map(sentence),
    ].filter(Boolean).join(" ");
  }

  function visibleLinks() {
    const out = [];
    for (const key of view.spots.keys()) {
      if (!key.startsWith("k")) continue;
      const edge = model.edgeOf.get(Number(key.slice(1)));
      if (edge === undefined) continue;
      for (const one of linksOfEdge(model.links, edge)) if (spotOf(model.links.from[one.source], model.links.unit[one.source])) out.push(one);
    }
    return out;
  }

  function paths(list) {
    const looks = new Map();
    for (const one of list) {
      const via = model.links.via[one.source];
      const share = strength(model.links, one);
      const wide = Math.max(1, Math.ceil(Math.min(1, Math.abs(share)) * 5));
      const layer = model.layers[model.links.edgeLayer[one.edge]];
      const look = `${via} w${wide}${share < 0 ? " against" : ""}${layer.groups > 1 && layer.family !== "depthwise" ? " fiber" : ""}`;
      if (!looks.has(look)) looks.set(look, []);
      looks.get(look).push(curve(one, via));
    }
    return [...looks].map(([look, parts]) => svg("path", { class: `link ${look}`, d: parts.join("") }));
  }

  function curve(one, via) {
    const { links } = model;
    const upper = view.places.get(view.spots.get(`k${keyOf(links.edgeLayer[one.edge], links.edgeKernel[one.edge])}`));
    const lower = view.places.get(spotOf(links.from[one.source], links.unit[one.source]));
    const [x1, y1, x2, y2] = [upper.x, upper.bottom, lower.x, lower.top].map((v) => Math.round(v * 10) / 10);
    const far = y2 - y1 > 220;
    const out = far ? (via === "gate" ? 1 : -1) * Math.min(150, 30 + (y2 - y1) / 9) : 0;
    const bend = (y2 - y1) * (far ? 0.28 : 0.5);
    return `M${x1} ${y1}C${x1 + out} ${y1 + bend} ${x2 + out} ${y2 - bend} ${x2} ${y2}`;
  }

  // ------------------------------------------------------------------------------------- selection

  function chipOf(key) {
    return key === null ? undefined : view.spots.get(`k${key}`);
  }

  function mark() {
    if (!sheet) return;
    const { selected, pinned } = app.state;
    for (const [look, key] of [["selected", selected], ["pinned", pinned]]) {
      for (const node of sheet.querySelectorAll(`.chip.${look}`)) node.classList.remove(look);
      chipOf(key)?.classList.add(look);
    }
    for (const node of sheet.querySelectorAll(".group.selected")) node.classList.remove("selected");
    view.spots.get(`l${app.state.layer}`)?.classList.add("selected");
    for (const node of sheet.querySelectorAll("[aria-pressed]")) node.removeAttribute("aria-pressed");
    chipOf(selected)?.setAttribute("aria-pressed", "true");
    if (!box.contains(document.activeElement)) rove(chipOf(selected));
    const chosen = selected === null ? [] : [...sourcesOf(model, selected), ...targetsOf(model, selected)];
    const seen = chosen.filter((one) => spotOf(model.links.from[one.source], model.links.unit[one.source])
      && chipOf(keyOf(model.links.edgeLayer[one.edge], model.links.edgeKernel[one.edge])));
    view.canvas.classList.toggle("focus", seen.length > 0);
    view.canvas.querySelector(".lit").replaceChildren(...paths(seen.slice(0, MOST_LINKS)));
    dim();
  }

  function dim() {
    for (const [key, node] of view.spots) {
      if (key.startsWith("k")) node.classList.toggle("dimmed", Boolean(view.matches) && !view.matches.has(Number(key.slice(1))));
    }
  }

  /** One chip at a time can be tabbed to; arrows move between chips. */
  function rove(node, focus = false) {
    if (!node) return;
    tabbed?.setAttribute("tabindex", "-1");
    tabbed = node;
    node.setAttribute("tabindex", "0");
    if (focus) node.focus();
  }

  function move(from, key) {
    const rows = [...sheet.querySelectorAll(".row")].map((row) => [...row.querySelectorAll("button")]).filter((row) => row.length);
    const y = rows.findIndex((row) => row.includes(from));
    const x = rows[y].indexOf(from);
    if (key === "ArrowLeft" || key === "ArrowRight") return rows[y][x + (key === "ArrowLeft" ? -1 : 1)];
    if (key === "Home") return rows[y][0];
    if (key === "End") return rows[y].at(-1);
    const next = rows[y + (key === "ArrowUp" ? -1 : 1)];
    if (!next) return undefined;
    const chips = next.filter((node) => node.classList.contains("chip"));
    const at = middle(from);
    return (chips.length ? chips : next).reduce((a, b) => (Math.abs(middle(b) - at) < Math.abs(middle(a) - at) ? b : a));
  }

  function middle(node) {
    const at = node.getBoundingClientRect();
    return at.left + at.width / 2;
  }

  box.addEventListener("keydown", (event) => {
    const from = event.target.closest("button");
    if (!from || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    rove(move(from, event.key), true);
  });
  box.addEventListener("click", (event) => {
    const from = event.target.closest("button");
    if (!from) return;
    rove(from);
    if (from.dataset.key) app.select(Number(from.dataset.key));
    else if (from.dataset.layer) app.selectLayer(Number(from.dataset.layer));
    else if (from.dataset.more) {
      const index = Number(from.dataset.more);
      const next = limitOf(model.layers[index]);
      view.more.set(index, (view.more.get(index) ?? 0) + MORE);
      draw();
      rove(view.spots.get(`k${keyOf(index, model.layers[index].chosen[next])}`), true);
    }
  });

  // --------------------------------------------------------------------------------------- toolbar

  function tools() {
    const per = el("select", { on: { change: () => { view.perLayer = Number(per.value); draw(); } } },
      [4, 8, 16, 32].map((n) => option(n, `${n} strongest`, n === view.perLayer)));
    const near = el("select", { on: { change: () => { view.near = Number(near.value); draw(); } } },
      option(1, "1 above and below", view.near === 1), option(2, "2 above and below", view.near === 2),
      option(4, "4 above and below"), nodes <= 600 ? option(Infinity, "all depths", view.near === Infinity) : null);
    furnish(byId("pyramid-tools"), {}, [app.depthField("Depth"), labelled("Depths drawn", near), labelled("Kernels per layer", per), searchField()]);
  }

  function searchField() {
    const found = el("ul", { class: "results", hidden: true });
    const input = el("input", { type: "search", placeholder: "layer name or kernel number", autocomplete: "off", spellcheck: "false" });
    const status = el("span", { class: "unseen", role: "status" });
    const show = () => {
      const hits = search(model, input.value);
      view.matches = hits && new Set(hits.kernels);
      dim();
      found.hidden = !hits;
      found.replaceChildren(...(hits ? results(hits) : []));
      status.textContent = hits ? `${count(hits.layers.length, "layer")} and ${count(hits.kernels.length, "chosen kernel")} match` : "";
    };
    input.addEventListener("input", show);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") found.querySelector("button")?.click();
      if (event.key === "Escape") { input.value = ""; show(); }
      if (event.key === "ArrowDown") { event.preventDefault(); found.querySelector("button")?.focus(); }
    });
    found.addEventListener("keydown", (event) => {
      const items = [...found.querySelectorAll("button")];
      const at = items.indexOf(document.activeElement);
      if (event.key === "Escape") { found.hidden = true; input.focus(); }
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        (items[at + (event.key === "ArrowDown" ? 1 : -1)] ?? input).focus();
      }
    });
    found.addEventListener("click", (event) => {
      const from = event.target.closest("button");
      if (!from) return;
      found.hidden = true;
      if (from.dataset.key) app.select(Number(from.dataset.key), { show: true });
      else app.selectLayer(Number(from.dataset.layer), { show: true });
    });
    const field = labelled("Find", input, status);
    field.classList.add("search");
    field.append(found);
    return field;
  }

  function results(hits) {
    const kernels = hits.kernels.slice(0, 8).map((key) => el("li", {}, el("button", { type: "button", data: { key } },
      el("strong", { text: `kernel ${kernelOf(key)}` }), ` ${model.layers[layerOf(key)].short}, depth ${model.layers[layerOf(key)].depth}`)));
    const layers = hits.layers.slice(0, 6).map((index) => el("li", {}, el("button", { type: "button", data: { layer: index } },
      el("strong", { text: model.layers[index].short }), ` ${model.layers[index].about}${model.layers[index].depth === null ? "" : `, depth ${model.layers[index].depth}`}`)));
    const more = hits.kernels.length + hits.layers.length - kernels.length - layers.length;
    const all = hits.numeric ? [...kernels, ...layers] : [...layers, ...kernels];
    if (more > 0) all.push(el("li", { class: "note", text: `${grouped(more)} more` }));
    return all.length ? all : [el("li", { class: "note", text: "nothing matches" })];
  }

  tools();
  new ResizeObserver(() => { if (sheet && box.isConnected) { link(); mark(); } }).observe(box);
  /** Brings a depth into the middle of the window. */
  function reveal(depth) {
    sheet.querySelector(`.row[data-depth="${depth}"]`)?.scrollIntoView({ block: "center", inline: "nearest" });
  }

  return { draw, later, mark, reveal, view };
}

/** Layers and chosen kernels that match words of a name and a kernel's number; null for no words. */
function search(model, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const digits = words.filter((word) => /^#?\d+$/.test(word)).map((word) => Number(word.replace("#", "")));
  const names = words.filter((word) => !/^#?\d+$/.test(word));
  const fits = (layer, list) => {
    return list.every((word) => layer.lower.includes(word));
  };
  const layers = model.layers.filter((layer) => layer.known && fits(layer, words)).map((layer) => layer.index);
  const inside = new Set(layers);
  const kernels = [];
  for (const key of model.rank.keys()) {
    const index = layerOf(key);
    const layer = model.layers[index];
    if (digits.length ? digits.includes(kernelOf(key)) && fits(layer, names) : inside.has(index)) kernels.push(key);
  }
  return { layers, kernels, numeric: digits.length > 0 };
}
