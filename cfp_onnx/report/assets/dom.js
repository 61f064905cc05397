"use strict";
/* Elements and words from plain values. Text is text: nothing here, or anywhere, parses markup. */

const SVG = document.getElementById("mark").namespaceURI;

/** An element with attributes (`text`, `on` and `data` are special) and children. */
function el(tag, props = {}, ...children) {
  return furnish(document.createElement(tag), props, children);
}

/** The same for SVG. */
function svg(tag, props = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), props, children);
}

function furnish(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "on") for (const [event, call] of Object.entries(value)) node.addEventListener(event, call);
    else if (key === "data") for (const [name, item] of Object.entries(value)) node.dataset[name] = item;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const byId = (id) => document.getElementById(id);

let lastId = 0;
/** A fresh id for a label and what it names. */
function freshId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

/** A labelled control: the label's text in front of it. */
function labelled(text, control, tail = null) {
  if (!control.id) control.id = freshId("control");
  return el("div", { class: "field" }, el("label", { for: control.id, text }), control, tail);
}

function option(value, text, selected) {
  return el("option", { value, text, selected });
}

/** What waits until its element comes near the view, by the distance that counts as near. */
const waiting = new Map();

/** Runs something once an element comes near the view, or when the page is printed. */
function whenSeen(node, call, margin = "400px") {
  if (!waiting.has(margin)) waiting.set(margin, watcher(margin));
  const { calls, watch } = waiting.get(margin);
  calls.set(node, call);
  watch.observe(node);
}

/** Does what still waits, a little whenever the browser is idle, so that a page left alone is whole. */
function drain() {
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(() => call({ timeRemaining: () => 8 }), 60));
  idle((deadline) => {
    let left = 0;
    for (const { calls, run } of waiting.values()) {
      for (const node of [...calls.keys()]) if (deadline.timeRemaining() > 5) run(node);
      left += calls.size;
    }
    if (left) drain();
  });
}

function watcher(margin) {
  const calls = new Map();
  const run = (node) => {
    const call = calls.get(node);
    calls.delete(node);
    watch.unobserve(node);
    if (node.isConnected) call?.();
  };
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting || !target.isConnected) run(target);
  }, { rootMargin: margin });
  window.addEventListener("beforeprint", () => { for (const node of [...calls.keys()]) run(node); });
  return { calls, watch, run };
}

// ------------------------------------------------------------------------------------------- words

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const LONGEST_TITLE = 2000;

/** One line of text in which control characters, direction marks and lone surrogates are written out. */
function printable(text) {
  return String(text).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** Printable, and cut in the middle where it is longer than `most` characters: a name's end tells more. */
function shortened(text, most = 34) {
  const whole = String(text);
  if (whole.length <= most) return printable(whole);
  const tail = Math.ceil((most - 1) * 0.62);
  return `${printable(whole.slice(0, most - 1 - tail))}\u2026${printable(whole.slice(-tail))}`;
}

/** The full name for a title attribute; of monstrous ones the beginning. */
function titled(text) {
  const whole = String(text);
  if (whole.length <= LONGEST_TITLE) return printable(whole);
  return `${printable(whole.slice(0, LONGEST_TITLE))}\u2026 (${count(whole.length, "character")})`;
}

/** Four significant digits, a true minus sign, no trailing zeros. */
function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "not a number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 1e6 || size < 1e-4) text = value.toExponential(digits - 2).replace(/\.?0+e/, "e").replace("e+", "e");
  else text = String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "\u2212");
}

/** A share in percent: whole above one, with a sign where asked for. */
function percent(share, signed = false) {
  if (!Number.isFinite(share)) return "\u2013";
  const size = Math.abs(share) * 100;
  const text = size === 0 ? "0" : size < 0.5 ? "<1" : String(Math.round(size));
  const sign = share < 0 ? "\u2212" : signed ? "+" : "";
  return `${sign}${text}\u00a0%`;
}

/** A coverage: rounded down, so that what is lost never reads as 100 %. */
function coveragePercent(share) {
  return share === 1 ? "100\u00a0%" : `${Math.floor(share * 1000) / 10}\u00a0%`;
}

function count(amount, noun) {
  return `${grouped(amount)} ${noun}${amount === 1 ? "" : /(s|ch)$/.test(noun) ? "es" : "s"}`;
}

/** A sentence of somebody else's: it starts with a capital and ends with a full stop. */
function sentence(text) {
  const line = shortened(text, 600).replace(/\.$/, "");
  return line ? `${line[0].toUpperCase()}${line.slice(1)}.` : "";
}

/** Pieces of a name with places between them where a line may break. */
function breakable(text) {
  return text.split(/(?<=[/._:])/).flatMap((piece, i) => (i ? [el("wbr"), piece] : [piece]));
}

function grouped(amount) {
  return String(amount).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function fileName(path) {
  return String(path).split(/[\\/]/).pop();
}

function className(target, most = 40) {
  if (target.title) return shortened(target.title, most);
  return target.label === null || target.label === undefined ? `class ${target.index}` : shortened(target.label, most);
}
