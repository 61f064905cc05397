/* One kernel, or two side by side: the tube in motion, its strip, its scale, what feeds it and what it feeds. */

const STRIP = 16;
const LIST = 10;

function makeDetail(model, app) {
  const host = byId("detail");
  let screens = [];
  let strips = [];
  let timer = 0;
  const controls = el("div", { class: "controls" }, ...app.transport(), ...app.overlayFields());

  function draw() {
    const { selected, pinned, layer } = app.state;
    screens = [];
    strips = [];
    if (selected !== null) drawKernels(pinned !== null && pinned !== selected ? [pinned, selected] : [selected]);
    else if (layer !== null) drawLayer(model.layers[layer]);
    else host.replaceChildren(el("h3", { id: "detail-title", tabindex: -1, text: "Nothing chosen yet" }), el("p", { class: "note", text: "Choose a kernel in the pyramid or in a table." }));
    host.querySelector("header")?.append(foldButton());
    host.parentElement.classList.toggle("comparing", screens.length > 1 || strips.length > 1 || host.querySelectorAll(".kernel").length > 1);
    frames();
    later();
  }

  /** On narrow screens the panel lies over the pyramid's foot and folds to its title. */
  function foldButton() {
    const button = el("button", { type: "button", class: "fold", on: { click: () => fold(!host.classList.contains("folded")) } });
    const fold = (folded) => {
      host.classList.toggle("folded", folded);
      button.textContent = folded ? "More" : "Less";
      button.setAttribute("aria-expanded", String(!folded));
    };
    fold(host.classList.contains("folded"));
    return button;
  }

  // --------------------------------------------------------------------------------------- kernels

  function drawKernels(keys) {
    const key = keys.at(-1);
    const body = [title(key), actions(key)];
    if (keys.length > 1) body.push(comparison(...keys));
    body.push(el("div", { class: keys.length > 1 ? "pair" : "single" }, keys.map((one) => kernelBlock(one, keys.length > 1))));
    if (screens.length) body.push(controls);
    if (key !== model.root) body.push(el("p", { class: "note", text: "This tube shows where the kernel fires. It is no evidence for the class." }));
    body.push(linkList("Fed by", sourcesOf(model, key), (one) => [model.links.from[one.source], model.links.unit[one.source]]));
    if (key !== model.root) body.push(linkList("Feeds", targetsOf(model, key), (one) => [model.links.edgeLayer[one.edge], model.links.edgeKernel[one.edge]]));
    host.replaceChildren(...body);
  }

  function title(key) {
    const layer = model.layers[layerOf(key)];
    const head = key === model.root ? className(model.target) : `Kernel ${kernelOf(key)}`;
    return el("header", {},
      el("p", { class: "eyebrow", text: key === model.root ? "Class" : `Kernel, depth ${layer.depth}` }),
      el("h3", { id: "detail-title", tabindex: -1, text: head }),
      el("p", { class: "of-layer" }, el("button", { type: "button", class: "link-button mono", data: { layer: layer.index }, title: titled(layer.name) }, breakable(layer.short)), el("span", { class: "layer-kind", text: ` ${layer.about}` })));
  }

  function actions(key) {
    const { pinned } = app.state;
    const pin = pinned === null ? el("button", { type: "button", text: "Pin to compare", on: { click: () => app.pin(key) } })
      : el("button", { type: "button", text: `Unpin ${kernelName(model, pinned)}`, on: { click: () => app.pin(null) } });
    return el("div", { class: "toolbar" }, pin, pinned === key ? el("span", { class: "note", text: "Pinned. Choose a second kernel to compare." }) : null);
  }

  function comparison(one, other) {
    const [a, b] = [mapOf(one), mapOf(other)];
    const value = a && b ? cosine(a, b, model.media.size) : undefined;
    const words = value === undefined ? "One of the two has no tube, so they cannot be compared."
      : value === null ? "One of the maps is zero everywhere: no cosine."
        : `Cosine of the two maps: ${number(value, 3)}`;
    return el("p", { class: "cosine", role: "status" }, el("strong", { text: words }), el("span", { class: "note", text: " 1 is the same shape, 0 nothing in common; both maps at the same places of the clip." }));
  }

  function mapOf(key) {
    return key === model.root ? model.evidence.get("evidence") ?? model.classMaps.get(app.state.depth) : model.maps.get(key);
  }

  function kernelBlock(key, paired) {
    const layer = model.layers[layerOf(key)];
    const map = mapOf(key);
    const node = el("div", { class: "kernel" });
    if (paired) node.append(el("h4", {}, kernelName(model, key), el("small", { text: ` ${layer.short}` })));
    if (key !== model.root) node.append(standing(layer, kernelOf(key)));
    if (map) {
      const screen = makeScreen(app.scene, 400);
      screen.map = map;
      screen.words = (state) => `${model.media.kind === "video" ? `Frame ${state.frame + 1}, ` : ""}${kernelName(model, key)}: ${map.constant ? "constant map" : `${map.scale.unit} from ${number(map.min)} to ${number(map.max)}`}`;
      screens.push(screen);
      node.append(el("div", { class: "stage" }, screen.node));
      app.showing(screen.node, () => screen.draw(app.state, screen.words(app.state)));
      if (model.media.size[0] > 1 && !map.constant) node.append(strip(map));
    }
    if (map || model.tubes.maps.length) node.append(colourLegend(map, kernelName(model, key)));
    return node;
  }

  function standing(layer, kernel) {
    const value = layer.relevance?.[kernel];
    if (value === undefined || value === null) return el("p", { class: "note", text: layer.paths === "none" ? `Relevance ${unknownWords(model)}.` : "This layer was not walked: no relevance." });
    ordered(layer);
    const place = layer.rankOf[kernel] + 1;
    const chosen = model.rank.has(keyOf(layer.index, kernel));
    return el("dl", { class: "stats" },
      el("div", {}, el("dt", { text: "of the layer's strongest" }), el("dd", { text: percent(shareOf(layer, kernel), true) })),
      el("div", {}, el("dt", { text: `rank of ${grouped(layer.kernels)}${chosen ? "" : ", not chosen"}` }), el("dd", { text: place })),
      el("div", {}, el("dt", { text: "relevance" }), el("dd", { text: number(value) })));
  }

  /** Some frames side by side; each is a button that goes there. */
  function strip(map) {
    const frames = model.media.size[0];
    const shown = Math.min(frames, STRIP);
    const places = Array.from({ length: shown }, (_, i) => Math.round((i * (frames - 1)) / Math.max(1, shown - 1)));
    const [, h, w] = model.media.size;
    const node = el("div", { class: "strip", role: "group", "aria-label": "frames" });
    const items = places.map((frame) => {
      const canvas = el("canvas", { width: 72, height: Math.max(1, Math.round(72 * Math.min(2, h / w))), "aria-hidden": "true" });
      const button = el("button", { type: "button", class: "cell", "aria-label": `frame ${frame + 1} of ${frames}`, on: { click: () => app.set({ frame, playing: false }) } }, canvas, el("span", { text: frame + 1 }));
      node.append(button);
      return { frame, canvas, button };
    });
    strips.push({ map, items });
    return node;
  }

  function frames() {
    for (const screen of screens) screen.draw(app.state, screen.words(app.state));
    here();
  }

  function here() {
    for (const { items } of strips) {
      let best = items[0];
      for (const item of items) if (Math.abs(item.frame - app.state.frame) < Math.abs(best.frame - app.state.frame)) best = item;
      for (const item of items) item.button.classList.toggle("here", item === best);
    }
  }

  /** The strip's pictures, a few at a time so that a click never waits for them. */
  function later() {
    clearTimeout(timer);
    const work = strips.flatMap(({ map, items }) => items.map((item) => ({ map, ...item })));
    const some = () => {
      const until = performance.now() + 12;
      while (work.length && performance.now() < until) {
        const { canvas, map, frame } = work.shift();
        drawFrame(canvas, app.scene, map, app.state, frame);
      }
      if (work.length) timer = setTimeout(some, 4);
    };
    timer = setTimeout(some, 20);
  }

  // ----------------------------------------------------------------------------------------- lists

  function linkList(head, list, end) {
    const node = el("section", { class: "links-of", "aria-label": head }, el("h4", { text: `${head} (${grouped(list.length)})` }));
    if (!list.length) return furnish(node, {}, [el("p", { class: "note", text: head === "Fed by" ? "It was not expanded, or no channel speaks for it." : "None of the kernels shown reads it." })]);
    const items = el("ul");
    const more = el("button", { type: "button", class: "more" });
    let shown = 0;
    const extend = (amount) => {
      items.append(...list.slice(shown, shown + amount).map((one) => linkItem(one, end(one))));
      shown = Math.min(list.length, shown + amount);
      more.hidden = shown >= list.length;
      more.textContent = `Show ${Math.min(60, list.length - shown)} more`;
    };
    more.addEventListener("click", () => extend(60));
    extend(LIST);
    return furnish(node, {}, [items, more]);
  }

  function linkItem(one, [index, unit]) {
    const { links } = model;
    const share = links.share[one.source];
    const via = links.via[one.source];
    const words = [`channel ${links.channel[one.channel]}`];
    if (share < 0.995 && via !== "gate") words.push(`${percent(share)} of it`);
    if (via !== "chain") words.push(viaWords(model.run, via));
    const name = index < 0 ? el("span", { text: `the input's channel ${unit}` })
      : el("button", { type: "button", class: "link-button", data: { key: keyOf(index, unit) } }, el("b", { text: keyOf(index, unit) === model.root ? className(model.target) : `kernel ${unit}` }), el("span", { class: "mono", text: model.layers[index].short, title: titled(model.layers[index].name) }));
    const weight = strength(links, one);
    return el("li", {}, name, el("span", { class: "note", text: words.join(", ") }), el("span", { class: weight < 0 ? "weight against" : "weight", text: percent(weight, weight < 0) }));
  }

  // ----------------------------------------------------------------------------------------- layer

  function drawLayer(layer) {
    const wires = model.topology?.wires.find((wire) => wire.layer === layer.index);
    host.replaceChildren();
    furnish(host, {}, [
      el("header", {}, el("p", { class: "eyebrow", text: layer.depth === null ? "Layer, not upstream of the class" : `Layer, depth ${layer.depth}` }),
        el("h3", { id: "detail-title", class: "mono", tabindex: -1, title: titled(layer.name) }, breakable(layer.short)),
        el("p", { class: "of-layer", text: layer.about })),
      el("dl", { class: "stats" }, [["kernels", grouped(layer.kernels)], ["channels", grouped(layer.channels)], ["chosen", grouped(layer.chosen.length)]].map(([key, value]) => el("div", {}, el("dt", { text: key }), el("dd", { text: value })))),
      layer.walked ? profile(layer) : el("p", { class: "note", text: "Not walked: it lies deeper than the walk went, or not upstream of the class." }),
      layer.walked ? el("section", {}, el("h4", { text: "Kernels" }), layer.chosen.length ? el("div", { class: "pills" }, layer.chosen.slice(0, 24).map((kernel) => pill(layer, kernel))) : el("p", { class: "note", text: whyEmpty(model, layer) }),
        layer.chosen.length > 24 ? el("p", { class: "note", text: `and ${layer.chosen.length - 24} more, in the table` }) : null) : null,
      wires ? wireList("Reads", wires.from.map((from, i) => [from, wires.via[i]])) : null,
      model.topology ? wireList("Read by", model.topology.wires.flatMap((wire) => wire.from.flatMap((from, i) => (from === layer.index ? [[wire.layer, wire.via[i]]] : [])))) : null,
    ]);
  }

  /** Relevance of all kernels, strongest first, as one line of bars. */
  function profile(layer) {
    if (layer.paths === "none") return null;
    const order = ordered(layer);
    const size = Math.min(order.length, 160);
    const values = Array.from({ length: size }, (_, i) => layer.relevance[order[Math.floor((i * order.length) / size)]] ?? 0);
    const scale = layer.largest || 1;
    const up = Math.max(0, values[0] / scale);
    const zero = 4 + up * 60;
    const wide = 320 / size;
    const bar = (value, i) => {
      const tall = Math.abs(value / scale) * 60;
      return `M${(i * wide).toFixed(2)} ${(value >= 0 ? zero - tall : zero).toFixed(2)}h${Math.max(0.6, wide * 0.8).toFixed(2)}v${tall.toFixed(2)}h${(-Math.max(0.6, wide * 0.8)).toFixed(2)}z`;
    };
    const down = Math.max(0, ...values.map((value) => -value / scale)) * 60;
    return el("figure", { class: "spread" }, svg("svg", { viewBox: `0 0 320 ${zero + down + 4}`, role: "img", "aria-label": `relevance of all ${layer.kernels} kernels, strongest first` },
      svg("path", { class: "for", d: values.map((value, i) => (value >= 0 ? bar(value, i) : "")).join("") }),
      svg("path", { class: "against", d: values.map((value, i) => (value < 0 ? bar(value, i) : "")).join("") }),
      svg("path", { class: "axis", d: `M0 ${zero}H320` })), el("figcaption", { class: "note", text: "Relevance of its kernels, strongest first" }));
  }

  function wireList(head, wires) {
    if (!wires.length) return null;
    const shown = wires.slice(0, 24).map(([index, via]) => el("li", {},
      index === null ? el("span", { text: "the input" }) : el("button", { type: "button", class: "link-button mono", data: { layer: index }, title: titled(model.layers[index].name), text: model.layers[index].short }),
      el("span", { class: "note", text: viaWords(model.run, via) })));
    return el("section", { class: "links-of" }, el("h4", { text: `${head} (${wires.length})` }), el("ul", {}, shown), wires.length > 24 ? el("p", { class: "note", text: `and ${wires.length - 24} more` }) : null);
  }

  host.addEventListener("click", (event) => {
    const from = event.target.closest("button");
    if (from?.dataset.key) app.select(Number(from.dataset.key));
    else if (from?.dataset.layer) app.selectLayer(Number(from.dataset.layer));
    else return;
    byId("detail-title").focus({ preventScroll: true });
  });
  app.on("frame", here);
  app.on("look", later);
  host.classList.add("folded"); // wide screens show it whole whatever this says
  return { draw };
}
