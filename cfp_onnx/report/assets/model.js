/* The payload as the views look things up: layers by place, kernels by key, links by column. */

const KEY = 2 ** 24;

/** One number for a kernel of a layer. */
const keyOf = (layer, kernel) => layer * KEY + kernel;
const layerOf = (key) => Math.floor(key / KEY);
const kernelOf = (key) => key % KEY;

/** Characters of a layer's name that are shown. */
const LONGEST_NAME = 46;

function readModel(payload) {
  const { pyramid, topology, names } = payload;
  const layers = names.map((name, index) => ({
    index, name, op: "", family: "", kernels: 0, channels: 0, groups: 1, kernel_shape: [], nodes: [], weight: "", module: "",
    depth: null, relevance: null, chosen: [], known: false,
  }));
  for (const layer of topology ? topology.layers : []) Object.assign(layers[layer.layer], layer, { known: true });
  for (const layer of pyramid.layers) Object.assign(layers[layer.layer], layer, { known: true, walked: true });
  for (const layer of layers) {
    layer.short = shortened(layer.name, LONGEST_NAME);
    layer.kind = kindOf(layer);
    layer.about = layer.module ? `${shortened(layer.module, LONGEST_NAME)}, ${layer.kind}` : layer.kind;
    layer.lower = `${layer.name} ${layer.module}`.toLowerCase();
    measure(layer);
  }
  const model = {
    payload, pyramid, topology, layers, media: payload.media, tubes: payload.tubes, facts: payload.facts,
    run: pyramid.run, target: pyramid.target, coverage: pyramid.coverage,
    rank: new Map(), byDepth: new Map(), gates: new Set(),
  };
  readLevels(model);
  readEdges(model);
  readTubes(model);
  const head = model.target.kernel ?? model.target.index;
  model.classifier = pyramid.layers.filter((x) => x.depth === 0).map((x) => x.layer).find(
    (x) => model.edgeOf.has(keyOf(x, head))) ?? pyramid.layers.find((x) => x.depth === 0)?.layer ?? null;
  model.root = model.classifier === null ? null : keyOf(model.classifier, head);
  return model;
}

function kindOf(layer) {
  const shape = layer.kernel_shape.join("\u00d7");
  const groups = layer.groups > 1 && layer.family !== "depthwise" ? ` in ${layer.groups} groups` : "";
  const family = layer.family === "dense" && !shape ? "" : ` ${layer.family}`;
  return `${layer.op}${shape ? ` ${shape}` : ""}${family}${groups}`.trim();
}

/** What percentages of a layer are measured by: its strongest kernel; where none speaks for the class, its largest. */
function measure(layer) {
  layer.top = 0;
  layer.largest = 0;
  for (const value of layer.relevance ?? []) {
    if (value > layer.top) layer.top = value;
    if (Math.abs(value) > layer.largest) layer.largest = Math.abs(value);
  }
  layer.scale = layer.top > 0 ? layer.top : layer.largest;
}

function shareOf(layer, kernel) {
  const value = layer.relevance?.[kernel];
  return value === undefined || value === null || layer.scale === 0 ? null : value / layer.scale;
}

/** Kernels of a layer, strongest first. */
function ordered(layer) {
  if (!layer.order) {
    const values = Float64Array.from(layer.relevance ?? [], (x) => x ?? -Infinity);
    layer.order = Uint32Array.from(values, (_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
    layer.rankOf = new Uint32Array(values.length);
    layer.order.forEach((kernel, rank) => { layer.rankOf[kernel] = rank; });
  }
  return layer.order;
}

function readLevels(model) {
  for (const level of model.pyramid.levels) {
    level.layer.forEach((index, i) => {
      model.layers[index].chosen.push(level.kernel[i]);
      model.rank.set(keyOf(index, level.kernel[i]), model.layers[index].chosen.length - 1);
    });
  }
  for (const { layer, depth } of model.pyramid.layers) {
    if (!model.byDepth.has(depth)) model.byDepth.set(depth, []);
    model.byDepth.get(depth).push(layer);
  }
  model.depths = [...model.byDepth.keys()].filter((depth) => depth > 0).sort((a, b) => a - b);
  model.deepest = model.depths.at(-1) ?? 0;
}

/** Links as typed columns with the first place of every edge and channel. */
function readEdges(model) {
  const raw = model.pyramid.edges;
  const links = {
    edgeLayer: raw.layer, edgeKernel: raw.kernel, firstChannel: running(raw.channels),
    channel: raw.channel, weight: Float64Array.from(raw.weight, (x) => x ?? NaN), firstSource: running(raw.sources),
    from: Int32Array.from(raw.from, (x) => x ?? -1), unit: Uint32Array.from(raw.unit),
    share: Float64Array.from(raw.share, (x) => x ?? NaN),
    via: raw.via.map((place) => raw.vias[place]),
  };
  links.channels = raw.channel.length;
  links.size = raw.from.length;
  links.edgeOfChannel = owners(links.firstChannel, links.channels);
  links.channelOfSource = owners(links.firstSource, links.size);
  links.largest = new Float64Array(raw.layer.length);
  for (let c = 0; c < links.channels; c += 1) {
    const edge = links.edgeOfChannel[c];
    links.largest[edge] = Math.max(links.largest[edge], Math.abs(links.weight[c]) || 0);
  }
  model.links = links;
  model.edgeOf = new Map(raw.layer.map((layer, i) => [keyOf(layer, raw.kernel[i]), i]));
  for (let s = 0; s < links.size; s += 1) if (links.via[s] === "gate") model.gates.add(links.from[s]);
}

function running(lengths) {
  const out = new Uint32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; i += 1) out[i + 1] = out[i] + lengths[i];
  return out;
}

function owners(first, size) {
  const out = new Uint32Array(size);
  for (let i = 0; i + 1 < first.length; i += 1) out.fill(i, first[i], first[i + 1]);
  return out;
}

/** Links into a kernel: {edge, channel, source} places, strongest first. */
function sourcesOf(model, key) {
  const edge = model.edgeOf.get(key);
  return edge === undefined ? [] : linksOfEdge(model.links, edge).sort(byWeight(model.links));
}

function linksOfEdge(links, edge) {
  const out = [];
  for (let c = links.firstChannel[edge]; c < links.firstChannel[edge + 1]; c += 1) {
    for (let s = links.firstSource[c]; s < links.firstSource[c + 1]; s += 1) out.push({ edge, channel: c, source: s });
  }
  return out;
}

const byWeight = (links) => (a, b) =>
  links.weight[b.channel] - links.weight[a.channel] || links.share[b.source] - links.share[a.source];

/** Links out of a kernel, by the share they have in what they feed. */
function targetsOf(model, key) {
  const { links } = model;
  model.feeds ??= readFeeds(links);
  const out = (model.feeds.get(key) ?? []).map((source) => {
    const channel = links.channelOfSource[source];
    return { edge: links.edgeOfChannel[channel], channel, source };
  });
  return out.sort((a, b) => strength(links, b) - strength(links, a));
}

/** A link's weight over the strongest of the kernel that it feeds. */
const strength = (links, link) => links.weight[link.channel] / (links.largest[link.edge] || 1);

function readFeeds(links) {
  const out = new Map();
  for (let s = 0; s < links.size; s += 1) {
    if (links.from[s] < 0) continue;
    const key = keyOf(links.from[s], links.unit[s]);
    const list = out.get(key);
    if (list) list.push(s);
    else out.set(key, [s]);
  }
  return out;
}

function readTubes(model) {
  const { scales, maps } = model.tubes;
  model.scales = new Map(scales.map((scale) => [`${scale.kind} ${scale.depth}`, scale]));
  model.maps = new Map();
  model.evidence = new Map(); // "evidence" or "against": the class's own tube over the clip
  model.classMaps = new Map(); // depth: where it holds what speaks for the class
  model.firingMaps = new Map(); // depth: where its kernels fire, no evidence
  for (const map of maps) {
    map.scale = model.scales.get(`${map.kind} ${map.depth}`) ?? { low: 0, high: map.max ?? 1, unit: map.kind };
    const own = map.kind === "relevance";
    if (map.kind === "evidence" || map.kind === "against") {
      map.scale = model.scales.get(`evidence ${map.depth}`) ?? { low: 0, high: 1, unit: "evidence" };
      model.evidence.set(map.kind, map);
      continue;
    }
    if (map.layer === null) (own ? model.classMaps : model.firingMaps).set(map.depth, map);
    else if (map.kernel !== null && (!own || !model.maps.has(keyOf(map.layer, map.kernel)))) model.maps.set(keyOf(map.layer, map.kernel), map);
  }
}

/** What is said of a layer whose relevance nothing is known of. */
function unknownWords(model) {
  return `unknown: it lies behind ${(model.coverage.operators_unknown ?? []).join(", ") || "what could not be followed"}`;
}

/** Why no kernel of a layer was chosen. */
function whyEmpty(model, layer) {
  if (layer.paths === "none") return unknownWords(model);
  if (layer.largest > 0) return layer.top > 0 ? "none reached the threshold" : "nothing speaks for the class";
  const held = heldIn(model.run);
  if (held.includes("gates") && model.gates.has(layer.index)) return "held (gate)";
  return held.length ? "held, or nothing of it fires" : "nothing arrives, or nothing of it fires";
}

function kernelName(model, key) {
  if (key === model.root) return className(model.target);
  return `kernel ${kernelOf(key)}`;
}
