/* Which question the page answers: rather than what, and with what held at its recorded value. */

/** What a rule may hold, in words. */
const HELD = { norms: "normalisation", attention: "attention", gates: "gates" };

/** Sum of the rivals' shares from which on no other class is worth a word. */
const WHOLE = 0.995;

/** What was held: everything in a file that does not say. */
const heldIn = (run) => run.holds ?? Object.keys(HELD);

/** The class and what it is set against. */
function question(target, run) {
  const against = ratherThan(target, run);
  return className(target, 80) + (against ? `, ${against}` : "");
}

/** What the class is set against, as `rather than clockwise`; empty where it is set against nothing. */
function ratherThan(target, run) {
  const old = !run.holds && run.class_step === "contrast" && (target.top ?? []).length > 1;
  const against = run.against ?? (old ? "mean" : null);
  if (against === null) return "";
  if (against === "mean") return "rather than the mean of the others";
  const rivals = run.rivals ?? [];
  const named = ([index, label]) => className({ index, label }, 80);
  if (!rivals.length) return `rather than ${against === "rivals" ? "the others as they compete" : shortened(against, 80)}`;
  if (against !== "rivals") return `rather than ${named(rivals[0])}`;
  const first = rivals.slice(0, 2);
  const rest = first.reduce((sum, rival) => sum + rival[2], 0) < WHOLE ? " and others" : "";
  return `rather than ${first.map((rival) => `${named(rival)} (${percent(rival[2])})`).join(", ")}${rest}`;
}

/** The payload with another of its answers in the first one's place; the layers, and all that is no answer, are the same. */
function answered(payload, place) {
  if (place === 0) return payload;
  const { pyramid } = payload;
  const { run, relevance, levels, edges } = pyramid.rather[place - 1];
  const layers = pyramid.layers.map((layer, i) => ({ ...layer, relevance: relevance[i] }));
  return { ...payload, pyramid: { ...pyramid, run, levels, edges, layers } };
}

/** A choice among the answers that the page holds, by what the class is set against; nothing where there is one. */
function makeSwitch(payload, place, open) {
  const { target, run, rather } = payload.pyramid;
  const host = byId("answer-switch");
  host.hidden = !rather?.length;
  if (host.hidden) return;
  const select = el("select", { on: { change: () => open(Number(select.value)) } },
    [run, ...rather.map((other) => other.run)].map((one, i) => option(i, switchWords(target, one), i === place)));
  host.replaceChildren(labelled("Rather than", select), el("p", { class: "note",
    text: "Relevance, chosen kernels and links follow. Tubes are those of the first: a kernel chosen only for another may have none, and the class's own sets it against its rivals throughout." }));
}

function switchWords(target, run) {
  if (run.against === "rivals") return "all its rivals, as they compete";
  const words = ratherThan(target, run).replace("rather than ", "");
  return run.against === "best" ? `${words}, the best of the others` : words;
}

/** Names in a sentence: `a, b and c`. */
function together(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names.join("");
}

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** What is held and what is live, in a sentence or two. */
function heldWords(run) {
  const held = heldIn(run);
  const words = (keys) => together(keys.map((key) => HELD[key] ?? key));
  const live = Object.keys(HELD).filter((key) => !held.includes(key));
  const follow = `What a kernel does to ${words(live)} counts too.`;
  if (!held.length) return `Nothing is held. ${follow}`;
  const are = held.length > 1 || held[0] === "gates" ? "are" : "is";
  const fixed = `${capital(words(held))} ${are} held fixed: influence that runs only through ${are === "are" ? "them" : "it"} is not shown.`;
  return live.length ? `${fixed} ${follow}` : fixed;
}

/** The way of a link in words. */
function viaWords(run, via) {
  return via === "gate" && heldIn(run).includes("gates") ? "gate, held" : via;
}
