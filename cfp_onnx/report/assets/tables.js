/* Tables that sort by number keys, filter, show rows as they are asked for and copy as CSV. */

const FIRST_ROWS = 25;
const ROWS_MORE = 100;

/** From here on the browser may leave out drawing a table that is out of view. */
const LONG = 400;

/** A column: `key` sorts (a number per row) and is exported, unless `csv` makes the exported cell; `cell` shows. */
function makeTable(host, { name, title, note, size, columns, match, sort, onRow }) {
  const state = { column: sort?.[0] ?? null, down: sort?.[1] ?? false, shown: FIRST_ROWS, rows: null };
  const body = el("tbody");
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", text: column.label, on: { click: () => turn(column) } });
    return el("th", { scope: "col", class: column.numeric ? "numeric" : null, "aria-sort": "none" }, button);
  });
  const table = el("table", { "aria-label": title }, el("thead", {}, el("tr", {}, heads)), body);
  const filter = el("input", { type: "search", placeholder: "layer name or number", autocomplete: "off", spellcheck: "false", on: { input: () => { state.shown = FIRST_ROWS; refilter(); } } });
  const status = el("span", { class: "note", role: "status" });
  const more = el("button", { type: "button", on: { click: () => extend(ROWS_MORE) } });
  const copy = el("button", { type: "button", class: "copy", text: "Copy as CSV", on: { click: () => copyText(csv(), copy) } });
  const card = el("section", { class: "card table-card", id: `table-${name}`, "aria-labelledby": `table-${name}-title` },
    el("h3", { id: `table-${name}-title`, text: title }), note ? el("p", { class: "note", text: note }) : null,
    el("div", { class: "toolbar" }, labelled("Filter", filter), copy, status),
    el("div", { class: "scroller table-box", tabindex: 0, role: "region", "aria-label": `${title}, scrolls` }, table), more);
  host.append(card);

  /** All rows in the order of the column, as places; orders are kept, so turning round is free. */
  function order() {
    if (state.column === null) return Uint32Array.from({ length: size }, (_, i) => i);
    const column = columns[state.column];
    if (!column.order) {
      const keys = Float64Array.from({ length: size }, (_, i) => column.key(i) ?? -Infinity);
      column.order = Uint32Array.from({ length: size }, (_, i) => i).sort((a, b) => keys[a] - keys[b] || a - b);
    }
    return state.down ? column.order.slice().reverse() : column.order;
  }

  function refilter() {
    const fits = match(filter.value);
    state.rows = fits ? order().filter(fits) : order();
    draw();
  }

  function turn(column) {
    const place = columns.indexOf(column);
    state.down = state.column === place ? !state.down : Boolean(column.numeric);
    state.column = place;
    state.shown = FIRST_ROWS;
    refilter();
  }

  function draw() {
    const { rows } = state;
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== state.column ? "none" : state.down ? "descending" : "ascending"));
    body.replaceChildren(...lines(0, state.shown));
    rest();
    status.textContent = rows.length === size ? count(size, "row") : `${grouped(rows.length)} of ${count(size, "row")}`;
  }

  function lines(first, last) {
    return Array.from(state.rows.subarray(first, last), (place) => el("tr", {}, columns.map((column) => cell(column, place))));
  }

  function extend(amount) {
    body.append(...lines(state.shown, state.shown + amount));
    state.shown += amount;
    rest();
  }

  function rest() {
    const { rows } = state;
    card.classList.toggle("long", state.shown > LONG);
    const left = rows.length - Math.min(state.shown, rows.length);
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(left, ROWS_MORE)} more`;
  }

  function cell(column, place) {
    const shown = column.cell(place);
    const inside = column.opens && onRow
      ? el("button", { type: "button", class: "link-button", on: { click: () => onRow(place, column) }, title: column.title?.(place), text: shown })
      : shown;
    return el("td", { class: column.numeric ? "numeric" : null }, inside);
  }

  function csv() {
    const lines = [columns.map((column) => csvCell(column.label)).join(",")];
    const cells = columns.map((column) => column.csv ?? ((place) => csvCell(column.key(place))));
    for (const place of state.rows) lines.push(cells.map((made) => made(place)).join(","));
    return `${lines.join("\r\n")}\r\n`;
  }

  state.rows = order();
  draw();
}

/** RFC 4180; text that a spreadsheet would take for a formula gets an apostrophe. */
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A layer's name as a cell, made once. */
function csvName(layer) {
  return (layer.csv ??= csvCell(layer.name));
}

/** To the clipboard; a page opened from a file may lack the new interface, so there is the old one. */
async function copyText(text, button) {
  const old = button.dataset.text ??= button.textContent;
  let done = false;
  try {
    if (window.isSecureContext && navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      done = true;
    }
  } catch {
    done = false; // refused: the old way may still be allowed
  }
  if (!done) done = copyOldWay(text);
  button.textContent = done ? "Copied" : "The browser refused to copy";
  setTimeout(() => { button.textContent = old; }, 1600);
}

function copyOldWay(text) {
  const area = el("textarea", { class: "unseen", readonly: true, "aria-hidden": "true", tabindex: -1 });
  const focus = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focus?.focus({ preventScroll: true });
  return done;
}

// ------------------------------------------------------------------------------------ the three tables

function makeTables(model, app) {
  const host = byId("tables-body");
  const { layers, links } = model;
  const shown = [...layers].filter((layer) => layer.known).map((layer) => layer.index);
  const names = ranks(layers.map((layer) => layer.name));
  const kinds = ranks(layers.map((layer) => layer.kind));
  const open = (index) => app.selectLayer(index, { show: true });
  const openKernel = (index, kernel) => (index < 0 ? null : app.select(keyOf(index, kernel), { show: true }));

  const layerTable = () => makeTable(host, {
    name: "layers", title: "Layers", size: shown.length, sort: null,
    note: "Concentration: share of the positive relevance in the strongest tenth of the kernels.",
    match: matcher(model, (i) => shown[i], () => -1),
    onRow: (i) => open(shown[i]),
    columns: [
      { label: "layer", opens: true, key: (i) => names[shown[i]], cell: (i) => layers[shown[i]].short, title: (i) => titled(`${layers[shown[i]].name}  ${layers[shown[i]].module}`.trim()), csv: (i) => csvName(layers[shown[i]]) },
      { label: "kind", key: (i) => kinds[shown[i]], cell: (i) => layers[shown[i]].kind, csv: (i) => csvCell(layers[shown[i]].kind) },
      numeric("depth", (i) => layers[shown[i]].depth),
      numeric("kernels", (i) => layers[shown[i]].kernels),
      numeric("channels", (i) => layers[shown[i]].channels),
      numeric("groups", (i) => layers[shown[i]].groups),
      numeric("chosen", (i) => layers[shown[i]].chosen.length),
      numeric("strongest", (i) => (layers[shown[i]].walked && layers[shown[i]].paths !== "none" ? layers[shown[i]].top : null)),
      numeric("concentration", (i) => concentration(layers[shown[i]]), percent),
    ],
  });

  const keys = [...model.rank.keys()];
  const kernelTable = () => makeTable(host, {
    name: "kernels", title: "Chosen kernels", size: keys.length, sort: null,
    note: "Compare relevance within a layer only; the share is of the layer's strongest kernel.",
    match: matcher(model, (i) => layerOf(keys[i]), (i) => kernelOf(keys[i])),
    onRow: (i) => app.select(keys[i], { show: true }),
    columns: [
      numeric("depth", (i) => layers[layerOf(keys[i])].depth),
      { label: "layer", key: (i) => names[layerOf(keys[i])], cell: (i) => nameCell(layers[layerOf(keys[i])]), csv: (i) => csvName(layers[layerOf(keys[i])]) },
      { ...numeric("kernel", (i) => kernelOf(keys[i])), opens: true },
      numeric("relevance", (i) => layers[layerOf(keys[i])].relevance?.[kernelOf(keys[i])] ?? null),
      numeric("share", (i) => shareOf(layers[layerOf(keys[i])], kernelOf(keys[i])), percent),
      numeric("rank", (i) => model.rank.get(keys[i]) + 1),
      numeric("tube maximum", (i) => model.maps.get(keys[i])?.max ?? null),
    ],
  });

  const edge = (i) => links.edgeOfChannel[links.channelOfSource[i]];
  const vias = new Map(VIAS.map((via, i) => [via, i]));
  const sourceName = (i) => (links.from[i] < 0 ? "input" : csvName(layers[links.from[i]]));
  const linkTable = () => makeTable(host, {
    name: "links", title: "Links", size: links.size, sort: null,
    note: "A channel's weight is its message to the kernel that reads it; shares say which kernels made the channel.",
    match: matcher(model, (i) => links.edgeLayer[edge(i)], (i) => links.edgeKernel[edge(i)], (i) => links.from[i], (i) => links.unit[i]),
    onRow: (i, column) => (column.label === "from kernel" ? openKernel(links.from[i], links.unit[i]) : openKernel(links.edgeLayer[edge(i)], links.edgeKernel[edge(i)])),
    columns: [
      { label: "layer", key: (i) => names[links.edgeLayer[edge(i)]], cell: (i) => nameCell(layers[links.edgeLayer[edge(i)]]), csv: (i) => csvName(layers[links.edgeLayer[edge(i)]]) },
      { ...numeric("kernel", (i) => links.edgeKernel[edge(i)]), opens: true },
      numeric("channel", (i) => links.channel[links.channelOfSource[i]]),
      numeric("weight", (i) => links.weight[links.channelOfSource[i]]),
      { label: "from layer", key: (i) => (links.from[i] < 0 ? -1 : names[links.from[i]]), cell: (i) => (links.from[i] < 0 ? "input" : nameCell(layers[links.from[i]])), csv: sourceName },
      { ...numeric("from kernel", (i) => links.unit[i]), opens: true },
      numeric("share", (i) => links.share[i], percent),
      { label: "via", key: (i) => vias.get(links.via[i]) ?? 9, cell: (i) => links.via[i], csv: (i) => csvCell(links.via[i]) },
    ],
  });

  const makers = [layerTable, kernelTable, linkTable];
  const next = () => {
    makers.shift()?.();
    if (makers.length) setTimeout(next);
    else host.dataset.ready = "";
  };
  whenSeen(host, next, "800px");
  window.addEventListener("beforeprint", () => { while (makers.length) makers.shift()(); });
}

function numeric(label, key, show = number) {
  return { label, numeric: true, key, cell: (i) => (key(i) === null ? "\u2013" : show === number && Number.isInteger(key(i)) ? String(key(i)) : show(key(i))) };
}

function nameCell(layer) {
  return el("span", { title: titled(layer.name), text: layer.short });
}

/** A number per text by which they sort, digits by their value; equal texts keep their order. */
function ranks(texts) {
  const collator = new Intl.Collator("en", { numeric: true });
  const cut = texts.map((text) => text.slice(0, 200));
  const out = new Float64Array(texts.length);
  Uint32Array.from(texts, (_, i) => i).sort((a, b) => collator.compare(cut[a], cut[b]) || a - b).forEach((index, rank) => { out[index] = rank; });
  return out;
}

/** A test of rows for a filter's words: names once per layer, numbers as whole numbers. Pairs of (layer, kernel). */
function matcher(model, ...fields) {
  return (text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return null;
    const tests = words.map((word) => {
      const digits = /^#?\d+$/.test(word) ? Number(word.replace("#", "")) : null;
      const named = model.layers.map((layer) => layer.lower.includes(word));
      return { digits, named };
    });
    return (i) => tests.every(({ digits, named }) => {
      for (let f = 0; f < fields.length; f += 2) {
        if (digits === null ? named[fields[f](i)] : fields[f + 1](i) === digits) return true;
      }
      return digits !== null && fields.length === 2 && fields[1](i) === -1 && named[fields[0](i)];
    });
  };
}
