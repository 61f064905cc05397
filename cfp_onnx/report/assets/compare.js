
/* A comparison: verdict, first parting, both pyramids. Names are text, numbers are finite or null. */

const DECADES = 8;
const CHIPS_SHOWN = 10;

const figure = (value, digits = 3) => (value === null ? "\u2013" : number(value, digits));
const baseName = (path) => printable(String(path).split(/[\\/]/).pop());

function drawVerdict(data) {
  const [a, b] = data.models;
  byId("verdict-files").textContent = `A ${baseName(a.file)}   ·   B ${baseName(b.file)}`;
  byId("verdict-title").textContent = data.same ? "The same network" : "Different networks";
  const agreeing = data.layers.filter((layer) => layer.agrees).length;
  byId("verdict-lede").textContent = data.same
    ? `All ${data.layers.length} layers and the answers agree within the tolerance, on ${clips(data)}.`
    : `${agreeing} of ${data.layers.length} layers that both files have agree within the tolerance, on ${clips(data)}.`;
  if (data.first) byId("parting").append(partingCard(data));
  const out = data.outputs;
  const label = data.target.label === null ? `class ${data.target.index}` : printable(data.target.label);
  byId("outputs").append(
    stat(figure(out.difference), "largest difference, of the largest score"), stat(out.cosine.toFixed(5), "cosine"),
    stat(figure(out.scores[0], 4), `${label} in A`), stat(figure(out.scores[1], 4), `${label} in B`),
  );
  byId("outputs-note").textContent = out.same_top
    ? "The strongest class is the same on every clip." : "The strongest class is another on at least one clip.";
  byId("found").append(...checks(data));
}

function clips(data) {
  return data.clips.length === 1 ? "one clip" : `${data.clips.length} clips`;
}

function stat(value, name) {
  return el("div", {}, el("dt", { text: name }), el("dd", { text: value }));
}

function partingCard(data) {
  const first = data.first;
  const known = (name) => {
    const module = data.layers.find((layer) => layer.a === name)?.modules[0];
    return printable(module ? `${name} (${module})` : name);
  };
  const where = {
    layer: `At ${known(first.layer)}`, between: `After ${known(first.layer)}, as ${known(first.reader)} sees it`,
    input: first.reader ? `At the input, as ${known(first.reader)} sees it` : "At the input",
    output: `Behind ${known(first.layer)}`, only_a: `At ${printable(first.layer)}, only in A`, only_b: `At ${printable(first.layer)}, only in B`,
  }[first.where];
  const kernels = first.kernels.length ? ` (kernel ${first.kernels.join(", ")})` : "";
  const target = placeOf(data, first);
  return el("div", { class: "parting", role: "note" },
    el("h2", { text: "Where they part first" }),
    el("p", { class: "where", text: where + kernels }),
    el("p", { text: printable(first.cause) }),
    target === null ? null : el("button", { type: "button", text: "Show it in the pyramids", on: { click: () => show(target) } }));
}

function placeOf(data, first) {
  const place = data.layers.findIndex((layer) => layer.a === first.layer && first.where !== "only_b");
  return place < 0 ? null : place;
}

function show(place) {
  const row = byId(`layer-${place}`);
  row.hidden = false;
  row.querySelector("details").open = true;
  row.scrollIntoView({ block: "start" });
  row.focus({ preventScroll: true });
}

function checks(data) {
  const line = (fine, text) => el("li", { class: fine ? "fine" : "doubt" },
    el("span", { class: "sign", "aria-hidden": "true", text: fine ? "✓" : "!" }), el("span", { text }));
  const by = {};
  for (const layer of data.layers) by[layer.evidence] = (by[layer.evidence] ?? 0) + 1;
  const told = Object.entries(by).map(([evidence, count]) => `${count} by ${evidence}`).join(", ");
  const moved = data.layers.filter((layer) => layer.moved).length;
  const limits = data.tolerance;
  const rows = [
    line(true, `${data.layers.length} layers are in both files: ${told || "none"}.`),
    moved ? line(true, `Kernels stand in another order in ${moved} layers; they are compared with their partners.`) : null,
    data.only_a.length ? line(false, `Only in A: ${data.only_a.map(printable).join(", ")}.`) : null,
    data.only_b.length ? line(false, `Only in B: ${data.only_b.map(printable).join(", ")}.`) : null,
    line(true, `Tolerance ${limits.outputs} of a layer's largest output${limits.weights === null ? "" : `, ${limits.weights} of a kernel's largest weight`}${limits.given ? ", as asked for" : `, for ${limits.precision}`}.`),
    ...data.notes.map((note) => line(false, `${printable(note)}.`)),
  ];
  return rows.filter((row) => row !== null);
}

// ------------------------------------------------------------------------------------------ pyramids

function drawRows(data) {
  const depths = new Map();
  data.layers.forEach((layer, place) => {
    const depth = layer.depth[0] ?? Infinity;
    if (!depths.has(depth)) depths.set(depth, []);
    depths.get(depth).push([layer, place]);
  });
  const first = data.first ? placeOf(data, data.first) : null;
  for (const depth of [...depths.keys()].sort((x, y) => x - y)) {
    const title = depth === 0 ? "Classifier" : depth === Infinity ? "Beside every path" : `Depth ${depth}`;
    byId("rows").append(el("section", { class: "depth" }, el("h3", { text: title }),
      depths.get(depth).reverse().map(([layer, place]) => couple(data, layer, place, place === first))));
  }
  byId("legend").append(
    el("span", { class: "legend-item" }, el("span", { class: "swatch" }), "chosen in both"),
    el("span", { class: "legend-item" }, el("span", { class: "swatch alone" }), "chosen in one only"),
    el("span", { class: "legend-item", text: "bars: full is agreement; the figure of outputs is their largest difference, the line the tolerance" }),
  );
  const only = el("input", { type: "checkbox", id: "only-different", on: { change: () => filter(data, only.checked) } });
  byId("tools").append(el("div", { class: "field" }, only, el("label", { for: "only-different", text: "Only layers that differ" })));
}

function filter(data, only) {
  let shown = 0;
  data.layers.forEach((layer, place) => {
    const hidden = only && layer.agrees && !byId(`layer-${place}`).classList.contains("first");
    byId(`layer-${place}`).hidden = hidden;
    shown += hidden ? 0 : 1;
  });
  for (const section of document.querySelectorAll(".depth")) section.hidden = !section.querySelector(".couple:not([hidden])");
  byId("rows-note").textContent = only ? `${shown} of ${data.layers.length} layers shown` : "";
}

function couple(data, layer, place, first) {
  const flag = first
    ? data.first.where === "between" ? `They part first behind this layer: ${printable(data.first.cause)}` : `They part first here: ${printable(data.first.cause)}`
    : layer.agrees ? null : "Differs";
  const classes = ["couple", layer.agrees ? null : "differs", first ? "first" : null].filter(Boolean).join(" ");
  return el("article", { class: classes, id: `layer-${place}`, tabindex: "-1", "aria-label": `${printable(layer.a)} and ${printable(layer.b)}` },
    flag ? el("p", { class: "flag", text: flag }) : null,
    side("a", layer, place), meters(layer, data.tolerance), side("b", layer, place), more(layer));
}

function side(letter, layer, place) {
  const index = letter === "a" ? 0 : 1;
  const chips = layer.chips.filter((chip) => chip[4] === "shared" || chip[4] === `only_${letter}`);
  const box = el("div", { class: "chips" }, chips.slice(0, CHIPS_SHOWN).map((chip) => kernel(chip, index, place)));
  if (chips.length > CHIPS_SHOWN) {
    const rest = el("button", { type: "button", class: "more", text: `${chips.length - CHIPS_SHOWN} more`, on: { click: () => {
      rest.replaceWith(...chips.slice(CHIPS_SHOWN).map((chip) => kernel(chip, index, place)));
    } } });
    box.append(rest);
  }
  return el("div", { class: `side ${letter}` },
    el("h4", { text: printable(layer[letter]) }),
    layer.modules[index] ? el("p", { class: "layer-kind", text: printable(layer.modules[index]) }) : null,
    el("p", { class: "layer-kind", text: `${letter.toUpperCase()}  ${layer.op[index]}, ${layer.count} kernels` }),
    chips.length ? box : null);
}

function kernel(chip, index, place) {
  const alone = chip[4] !== "shared";
  const share = Math.max(0, Math.min(1, chip[2 + index] ?? 0));
  const name = `kernel ${chip[index]}, ${Math.round(100 * share)} % of the strongest`;
  const mark = alone ? `, chosen in ${chip[4] === "only_a" ? "A" : "B"} only` : ", chosen in both";
  const node = el("button", {
    type: "button", class: alone ? "kernel alone" : "kernel", "aria-label": name + mark, title: name + mark,
    data: { pair: `${place}:${chip[0]}` },
  }, String(chip[index]), el("span", { class: "bar", "aria-hidden": "true" }, strip(share)));
  for (const event of ["pointerenter", "focus"]) node.addEventListener(event, () => light(node.dataset.pair, true));
  for (const event of ["pointerleave", "blur"]) node.addEventListener(event, () => light(node.dataset.pair, false));
  return node;
}

function strip(share) {
  return svg("svg", { width: "100%", height: "4", viewBox: "0 0 100 4", preserveAspectRatio: "none" },
    svg("rect", { class: "value", width: (100 * share).toFixed(1), height: "4", fill: "currentColor" }));
}

function light(pair, on) {
  for (const node of document.querySelectorAll(".kernel")) if (node.dataset.pair === pair) node.classList.toggle("lit", on);
}

function meters(layer, tolerance) {
  const log = (value) => (value === null ? 0 : Math.max(0, Math.min(1, -Math.log10(Math.max(value, 10 ** -DECADES)) / DECADES)));
  const part = (value) => (value === null ? null : Math.max(0, Math.min(1, value)));
  return el("dl", { class: "meters" },
    meter("outputs", log(layer.difference), figure(layer.difference), layer.difference > tolerance.outputs, log(tolerance.outputs)),
    meter("cosine", part(layer.cosine), layer.cosine.toFixed(4)),
    layer.rank_correlation === null ? null : meter("ranks", part(layer.rank_correlation), layer.rank_correlation.toFixed(3)),
    layer.overlap === null ? null : meter("top 10 %", part(layer.overlap), `${Math.round(100 * layer.overlap)} %`),
    layer.tube_cosine === null ? null : meter("tubes", part(layer.tube_cosine), layer.tube_cosine.toFixed(3)));
}

function meter(name, share, text, bad = false, limit = null) {
  return el("div", {}, el("dt", { text: name }),
    el("span", { class: bad ? "meter bad" : "meter", "aria-hidden": "true" },
      svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none" },
        svg("rect", { class: "value", width: (100 * share).toFixed(1), height: "10" }),
        limit === null ? null : svg("line", { class: "limit", x1: (100 * limit).toFixed(1), x2: (100 * limit).toFixed(1), y1: "0", y2: "10" }))),
    el("dd", { text }));
}

function more(layer) {
  const of = (value, what) => (value === null ? null : `${what} ${figure(value, 3)}`);
  const lines = [
    ...layer.findings.map(printable),
    of(layer.input_difference, "what it reads differs by"), of(layer.max_abs, "largest difference of its outputs"),
    of(layer.weight_difference, "weights differ by, of the kernel's largest,"), of(layer.bias_difference, "biases differ by, of the largest,"),
    layer.worst.length ? `kernels that differ most: ${layer.worst.join(", ")}` : null,
    layer.moved ? `${layer.moved} kernels stand in another order in B` : null,
    `told to be the same layer by ${layer.evidence}`,
  ].filter((line) => line !== null);
  return el("details", { class: "more-of" }, el("summary", { text: layer.findings.length ? printable(layer.findings.join("; ")) : "figures" }),
    el("ul", {}, lines.map((text) => el("li", { text }))));
}

// -------------------------------------------------------------------------------------------- the rest

function drawFacts(data) {
  const head = (text) => el("th", { scope: "col", text });
  byId("facts").append(el("thead", {}, el("tr", {}, head(""), head("A"), head("B"))));
  const rows = ["file", "producer", "opset", "precision", "layers", "sha256"].map((key) => el("tr", {},
    el("th", { scope: "row", text: key }), data.models.map((model) => el("td", { text: printable(model[key] || "unknown") }))));
  const shared = data.clips.map((clip, n) => el("tr", {}, el("th", { scope: "row", text: n ? "" : "clips" }),
    el("td", { colspan: "2", text: `${printable(clip.file)} (${clip.shape.join("x")}) ${clip.sha256.slice(0, 12)}` })));
  byId("facts").append(el("tbody", {}, rows, shared));
}

function startTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const tell = () => { button.textContent = now() === "dark" ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => { root.dataset.theme = now() === "dark" ? "light" : "dark"; tell(); });
  dark.addEventListener("change", tell);
  tell();
}

const compared = JSON.parse(byId("payload").textContent);
startTheme();
drawVerdict(compared);
drawRows(compared);
drawFacts(compared);
document.documentElement.dataset.ready = "";
