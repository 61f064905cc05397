/* The answer first: class and score, the clip with the class's tube, reasons for doubt, the strongest kernels. */

const DEPTHS_FIRST = 5;
const DEPTHS_MORE = 20;

/** A lead over the second class of less than this part of the score is called small. */
const CLOSE = 0.05;

function makeAnswer(model, app) {
  const { target, pyramid } = model;
  const top = target.top ?? [];
  const own = top[0] ?? null;
  byId("answer-files").textContent = `${shortened(fileName(pyramid.model.file), 60)}  \u00b7  ${shortened(fileName(pyramid.input.file), 60)}`;
  byId("answer-title").replaceChildren(el("span", { text: className(target, 80), title: titled(target.label ?? "") }),
    el("small", { text: target.label === null || target.title ? "" : `class ${target.index}` }), el("small", { text: `score ${number(target.score)}` }));
  const asked = question(target, model.run);
  byId("answer-question").textContent = target.title && asked === className(target, 80) ? "" : asked; // the title says it already
  byId("answer-lede").textContent = lede(model, own, top);
  byId("top").append(...(target.title && !top.length ? [el("p", { class: "note", text: `A single number: ${number(target.score)}.` })] : bars(top, target)));
  byId("sure").append(...doubts(model, own, top).map(check));
  byId("reading").append(...reading(model).map((text) => el("p", { text })));
  if (isIncomplete(model.coverage)) byId("banners").append(el("p", { class: "banner", role: "alert", text: coverageWords(model.coverage) }));
  strongest(model, app);
  player(model, app);
}

function lede(model, own, top) {
  const { target } = model;
  const named = (one) => (one[1] === null ? `class ${one[0]}` : shortened(one[1]));
  const first = model.depths[0];
  const best = first === undefined ? null : strongestAt(model, first);
  const parts = [];
  if (own && own[0] === target.index) {
    parts.push(top[1] ? `The model answers ${named(own)}${target.place ? " there" : ""}, ${number(own[2] - top[1][2])} ahead of ${named(top[1])}.` : `The model answers ${named(own)}.`);
  } else if (own) parts.push(`The model itself answers ${named(own)}${target.place ? " there" : ""} (${number(own[2])}); this page explains ${className(target)} (${number(target.score)}).`);
  for (const note of target.notes ?? []) parts.push(`${capital(shortened(note, 400))}.`);
  if (best) parts.push(`At depth ${first}, what the class reads, ${count(best.chosen, "kernel")} ${best.chosen === 1 ? "was" : "were"} chosen; the strongest is kernel ${best.kernel} of ${best.layer.short}.`);
  return parts.join(" ");
}

function strongestAt(model, depth) {
  const layers = model.byDepth.get(depth).map((i) => model.layers[i]).filter((layer) => layer.chosen.length);
  if (!layers.length) return null;
  const layer = layers.reduce((a, b) => (b.top > a.top ? b : a));
  return { layer, kernel: layer.chosen[0], chosen: layers.reduce((sum, x) => sum + x.chosen.length, 0) };
}

function gapOf(top) {
  return top.length > 1 ? top[0][2] - top[1][2] : null;
}

/** Scores as bars from a common zero; a negative score goes to the left. */
function bars(top, target) {
  if (!top.length) return [el("p", { class: "note", text: "No scores were stored." })];
  const low = Math.min(0, ...top.map((one) => one[2]));
  const high = Math.max(0, ...top.map((one) => one[2]));
  const span = high - low || 1;
  const list = el("ol", { class: "bars" });
  for (const [index, label, score] of top) {
    const fill = el("span", { class: score < 0 ? "fill against" : "fill" });
    fill.style.left = `${((Math.min(score, 0) - low) / span) * 100}%`;
    fill.style.width = `${Math.max(0.6, (Math.abs(score) / span) * 100)}%`;
    const zero = el("span", { class: "zero" });
    zero.style.left = `${(-low / span) * 100}%`;
    list.append(el("li", { class: index === target.index ? "explained" : null },
      el("span", { class: "bar-name", title: titled(label ?? `class ${index}`) }, el("span", {}, label === null ? `class ${index}` : breakable(shortened(label, 26))), index === target.index ? el("em", { text: "explained" }) : null),
      el("span", { class: "track", "aria-hidden": "true" }, fill, zero),
      el("span", { class: "value", text: number(score) })));
  }
  return [list];
}

// ------------------------------------------------------------------------------------------- doubts

function isIncomplete(coverage) {
  return coverage.channels !== 1 || coverage.layers !== 1 || (coverage.operators_unknown ?? []).length > 0;
}

function coverageWords(coverage) {
  const unknown = coverage.operators_unknown ?? [];
  const passed = unknown.length ? ` Passed over: ${unknown.map((x) => shortened(x)).join(", ")}.` : "";
  return `Incomplete: ${coveragePercent(coverage.channels)} of channels and ${coveragePercent(coverage.layers)} of layers could be traced.${passed} The relevance of what lies behind is unknown.`;
}

/** What a reader should know before believing: [is it fine, what, details]. */
function doubts(model, own, top) {
  const { run, target, coverage } = model;
  const out = [];
  out.push(isIncomplete(coverage) ? [false, "Coverage", coverageWords(coverage)] : [true, "Coverage", "100\u00a0% of channels and layers were traced."]);
  if (own) {
    const place = top.findIndex((one) => one[0] === target.index);
    out.push(place === 0 ? [true, "The model's own answer", "yes, the explained class comes first."]
      : [false, "Not the model's own answer", place > 0 ? `the explained class is number ${place + 1}.` : "the explained class is not among the strongest listed."]);
  }
  if (top.length > 1) {
    const gap = gapOf(top);
    const clear = gap > CLOSE * Math.abs(top[0][2]);
    out.push([clear, "Margin", `the first is ${clear ? "" : "only "}${number(gap)} ahead of the second.`]);
  }
  const moved = run.output_difference;
  out.push([!(moved > 1e-3 * Math.max(1, Math.abs(target.score))), "Probes", moved ? `measuring moved the outputs by ${number(moved)} at most.` : "measuring did not move the outputs at all."]);
  out.push([!run.undefined, "Undefined", run.undefined ? `the rule is not defined for ${count(run.undefined, "expanded kernel")}; they have no links.` : "the rule is defined for every expanded kernel."]);
  if (run.negative_sums) out.push([false, "Negative sums", `a negative sum turns the order round in ${count(run.negative_sums, "expanded kernel")}.`]);
  else if (run.rule === "published") out.push([true, "Negative sums", "none."]);
  out.push([!run.links_omitted, "Links left out", run.links_omitted ? `${grouped(run.links_omitted)}, where kernels tie by the thousand.` : "none."]);
  return out;
}

function check([fine, what, text]) {
  return el("li", { class: fine ? "fine" : "doubt" },
    el("span", { class: "sign", role: "img", "aria-label": fine ? "fine" : "attention", text: fine ? "\u2713" : "!" }),
    el("span", {}, el("strong", { text: `${what}: ` }), text));
}

function reading(model) {
  return [
    "Relevance is ranked within a layer. A kernel with 100\u00a0% is the strongest of its layer; its number cannot be compared with another layer's.",
    "A kernel's tube shows where that kernel fires, for whatever reason. Only the class's own tube, which is relevance at every place and time, is evidence for the class.",
    `This is no proof of cause. Two kernels that do the same work share its relevance, and removing one of them may change nothing.`,
    heldWords(model.run),
  ];
}

// ----------------------------------------------------------------------------------------- strongest

/** For every layer of every depth: who speaks for the class, and who against it. */
function strongest(model, app) {
  const host = byId("strongest");
  const body = el("tbody");
  const more = el("button", { type: "button" });
  let shown = 0;
  if (!model.depths.length) {
    host.append(el("p", { class: "note", text: "No layer was walked below the classifier." }));
    return;
  }
  host.append(el("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "strongest kernels, scrolls" },
    el("table", { class: "strongest" }, el("thead", {}, el("tr", {}, ["depth", "layer", "for", "against"].map((text) => el("th", { scope: "col", text })))), body)), more);
  const extend = (amount) => {
    for (const depth of model.depths.slice(shown, shown + amount)) {
      model.byDepth.get(depth).forEach((index, i, all) => body.append(strongestRow(model, model.layers[index], i === 0 ? [depth, all.length] : null)));
    }
    shown = Math.min(model.depths.length, shown + amount);
    more.hidden = shown >= model.depths.length;
    more.textContent = `Show ${Math.min(DEPTHS_MORE, model.depths.length - shown)} deeper depths`;
  };
  more.addEventListener("click", () => extend(DEPTHS_MORE));
  host.addEventListener("click", (event) => {
    const from = event.target.closest("[data-key]");
    if (from) app.select(Number(from.dataset.key), { show: true });
  });
  extend(DEPTHS_FIRST);
}

function strongestRow(model, layer, depth) {
  const order = ordered(layer);
  const best = [...order.subarray(0, 4)].filter((kernel) => layer.relevance[kernel] > 0);
  const worst = [...order.subarray(Math.max(0, order.length - 2))].reverse().filter((kernel) => layer.relevance[kernel] < 0);
  const pills = (list) => list.map((kernel) => pill(layer, kernel));
  return el("tr", {}, depth ? el("th", { scope: "rowgroup", rowspan: depth[1], class: "numeric", text: depth[0] }) : null,
    el("td", {}, el("span", { class: "mono", title: titled(layer.name), text: layer.short }), el("span", { class: "layer-kind", text: ` ${layer.about}` })),
    el("td", {}, best.length ? el("div", { class: "pills" }, pills(best)) : el("span", { class: "note", text: whyEmpty(model, layer) })),
    el("td", {}, worst.length ? el("div", { class: "pills" }, pills(worst)) : el("span", { class: "note", text: "\u2013" })));
}

function pill(layer, kernel) {
  const share = shareOf(layer, kernel);
  return el("button", { type: "button", class: share < 0 ? "pill against" : "pill for", data: { key: keyOf(layer.index, kernel) }, "aria-label": `kernel ${kernel} of ${layer.short}, ${percent(share, true)}` },
    el("b", { text: kernel }), el("span", { text: percent(share, true) }));
}

// -------------------------------------------------------------------------------------------- player

/** The clip with the class's own tube, or with the map of the slider's depth. */
function player(model, app) {
  const host = byId("player");
  const { media } = model;
  const caption = byId("player-title");
  const legend = el("div");
  const near = el("div", { class: "near" });
  const hasTubes = model.evidence.size + model.classMaps.size + model.firingMaps.size > 0;
  const views = [["evidence", "evidence for the class"], ["against", "evidence against it"]].filter(([kind]) => model.evidence.has(kind));
  const hasPictures = media.kind === "curve" ? Boolean(media.curve?.length) : media.frames.length > 0;
  if (!hasTubes && !hasPictures) {
    caption.textContent = "No pictures and no tubes";
    furnish(host, {}, [el("p", { class: "note", text: "This report was written without frames and without tubes. Kernels, links and numbers are complete." }), app.depthField("Depth"), near]);
  } else {
    const screen = makeScreen(app.scene, 720);
    let view = views.length ? "evidence" : "depth";
    const choice = views.length ? el("select", { on: { input: () => { view = choice.value; show(); } } },
      [...views, ["depth", "where the depth holds it"]].map(([value, text]) => el("option", { value, text }))) : null;
    host.append(el("div", { class: "stage" }, screen.node), el("div", { class: "controls" }, ...app.transport(), choice ? labelled("Map", choice) : null, app.depthField("Depth"), ...app.overlayFields()), legend, near,
      el("p", { class: "note", text: [media.note, ...model.tubes.notes].map(sentence).join(" ") }));
    const draw = () => screen.draw(app.state, playerWords(model, screen.map, app.state));
    app.showing(screen.node, draw);
    const show = () => {
      const { depth } = app.state;
      screen.map = view === "depth" ? model.classMaps.get(depth) ?? model.firingMaps.get(depth) ?? null : model.evidence.get(view);
      caption.replaceChildren(...playerTitle(model, screen.map, view, depth));
      legend.replaceChildren(colourLegend(screen.map, view === "depth" ? `the class at depth ${depth}` : "the class"));
      draw();
    };
    let first = true;
    app.on("depth", () => {
      if (!first && choice) choice.value = view = "depth";
      first = false;
      show();
    });
  }
  app.on("depth", ({ depth }) => near.replaceChildren(...kernelsAt(model, depth)));
  near.addEventListener("click", (event) => {
    const from = event.target.closest("[data-key]");
    if (from) app.select(Number(from.dataset.key), { show: true });
  });
}

function playerTitle(model, map, view, depth) {
  const name = el("strong", { text: className(model.target) });
  if (view === "evidence") return ["Where in the clip the evidence for ", name, " lies"];
  if (view === "against") return ["Where in the clip something speaks against ", name];
  const at = el("strong", { text: depth });
  if (map?.kind === "activation") return ["Where the kernels of depth ", at, " fire, weighted by relevance: no evidence for the class by itself"];
  if (!map) return ["Depth ", at, " does not say where"];
  return ["Where depth ", at, " holds what speaks for ", name, ` (${map.shape.join(" × ")} places)`];
}

function playerWords(model, map, state) {
  const what = model.media.kind === "video" ? `Frame ${state.frame + 1} of ${model.media.size[0]}` : model.media.kind === "curve" ? "The input signal" : model.media.kind === "image" ? "The input picture" : "A map";
  if (!map) return `${what}, without a tube`;
  const shown = { relevance: `the class's relevance at depth ${map.depth}`, evidence: "the evidence for the class", against: "the evidence against the class" };
  return `${what}, with ${shown[map.kind] ?? `the activation of the kernels at depth ${map.depth}`}${map.constant ? ", which is constant" : `, from ${number(map.min)} to ${number(map.max)}`}`;
}

function kernelsAt(model, depth) {
  const out = [];
  const most = 8;
  const layers = (model.byDepth.get(depth) ?? []).map((i) => model.layers[i]);
  for (const layer of layers) out.push(...layer.chosen.slice(0, Math.max(2, Math.floor(most / layers.length))).map((kernel) => pill(layer, kernel)));
  if (!out.length) return [el("p", { class: "note", text: `No kernel was chosen at depth ${depth}: ${layers.map((layer) => whyEmpty(model, layer)).join(", ") || "no layer there"}.` })];
  return [el("span", { class: "near-title", text: `Kernels at depth ${depth}` }), el("div", { class: "pills" }, out.slice(0, 16))];
}

// ---------------------------------------------------------------------------------------- provenance

const SETTINGS = ["rule", "order", "class_step", "theta", "top_k", "depth"];

/** Keys of a run that its settings tell in words. */
const ASKED = ["holds", "against", "rivals", "gates"];

function makeFacts(model) {
  const { pyramid, run, coverage, facts } = model;
  const groups = [
    ["Model", pyramid.model], ["Input", { ...pyramid.input, pictures: model.media.note }],
    ["Settings", { ...Object.fromEntries(SETTINGS.filter((key) => key in run).map((key) => [key, run[key]])), holds: heldIn(run).join(", ") || "nothing", against: ratherThan(model.target, run).replace("rather than ", "") || "nothing", ...(run.against === "rivals" && run.rivals?.length ? { rivals: run.rivals.map(([index, label, share]) => `${className({ index, label })} ${percent(share)}`).join(", ") } : {}) }],
    ["Run", { ...Object.fromEntries(Object.entries(run).filter(([key]) => ![...SETTINGS, ...ASKED].includes(key))), output: model.target.output }],
    ["Coverage", { channels: coveragePercent(coverage.channels), layers: coveragePercent(coverage.layers), "unknown operators": (coverage.operators_unknown ?? []).join(", ") || "none" }],
    ["This report", facts],
  ];
  byId("facts").append(...groups.map(([title, values]) => el("section", { class: "card" }, el("h3", { text: title }),
    el("dl", {}, rowsOfFacts(values).map(([key, value]) => [el("dt", { text: key }), el("dd", { class: /^[0-9a-f]{40,}$/.test(value) ? "mono hash" : null, text: value })])))));
}

function rowsOfFacts(values, before = "") {
  return Object.entries(values ?? {}).flatMap(([key, value]) => {
    const name = `${before}${shortened(key === "cfp_onnx" ? key : key.replaceAll("_", " "), 60)}`;
    if (value && typeof value === "object" && !Array.isArray(value)) return rowsOfFacts(value, `${name}: `);
    if (Array.isArray(value)) return [[name, value.every((x) => Number.isInteger(x)) ? value.join("\u00d7") : value.map(printable).join(", ") || "none"]];
    if (typeof value === "number") return [[name, Number.isInteger(value) ? String(value) : number(value)]];
    return [[name, value === null || value === undefined || value === "" ? "none" : shortened(value, 600)]];
  });
}
