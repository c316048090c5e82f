/** Says what an answer waits for: its place in line, or the model's load and how far that is. */

import { h, progressBar, toggle } from "./dom.js";
import { facts, ordinal } from "./words.js";

const STAGES = { find: "find", read: "read", compile: "compile", warm_up: "warm-up" };
const DOING = { find: "finding", read: "reading", compile: "compiling", warm_up: "warming up" };

/** Say a place in line in words. */
export function inLine(waiting) {
  if (waiting?.kind !== "queued") return "";
  return waiting.position === 1 ? "Next in line" : `${ordinal(waiting.position)} in line`;
}

/** Say a stage of loading in words: "compiling, 63 %, about 8 s left". */
export function loadingWords({ stage, percent, eta }) {
  const known = percent !== null && percent !== undefined;
  const left = eta === null || eta === undefined ? "" : `about ${Math.round(eta)} s left`;
  return [DOING[stage] ?? stage, known ? `${Math.round(percent)} %` : "", left]
    .filter(Boolean)
    .join(", ");
}

/** Make a card that follows a load; `show(model, waiting)` with anything but a load hides it. */
export function loadCard() {
  const name = h("strong");
  const words = h("span");
  const { bar, show: showBar } = progressBar("Loading");
  const stages = Object.entries(STAGES).map(([stage, word]) => [stage, h("span", {}, word)]);
  const steps = h(
    "div",
    { class: "npu-stages", "aria-hidden": "true" },
    stages.map(([, element]) => element),
  );
  const element = h(
    "div",
    { class: "npu-card", hidden: true },
    h("div", {}, name, " ", words),
    bar,
    steps,
  );
  const show = (model, waiting) => {
    const loading = waiting?.kind === "loading";
    toggle(element, loading);
    if (!loading) return;
    name.textContent = `Loading ${model}:`;
    words.textContent = loadingWords(waiting);
    showBar(waiting.percent, facts(loadingWords(waiting)));
    const at = Object.keys(STAGES).indexOf(waiting.stage);
    stages.forEach(([, step], number) => {
      step.className = number < at ? "npu-stage-done" : number === at ? "npu-stage-now" : "";
    });
  };
  return { element, show };
}
