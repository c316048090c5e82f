/** The sampling settings of a chat: fields, and one line that says what they are. */

import { field, h } from "./dom.js";
import { count, facts } from "./words.js";

const DEFAULTS = { temperature: 0.7, max_tokens: 256, top_p: 1 };
const FIELDS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1 }, "0 is the likeliest text"],
  ["max_tokens", "Up to tokens", { min: 1, max: 131072, step: 1 }, ""],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.05 }, ""],
  ["seed", "Seed", { min: 0, max: 2147483647, step: 1 }, "empty is another each time"],
];

/** Say settings in a line: "temperature 0.7 · up to 256 tokens". */
export function settingsWords(settings) {
  const all = { ...DEFAULTS, ...settings };
  const seed = all.seed ?? null;
  return facts(
    `temperature ${all.temperature}`,
    `up to ${count(all.max_tokens)} tokens`,
    all.top_p === 1 ? "" : `top p ${all.top_p}`,
    seed === null ? "" : `seed ${seed}`,
  );
}

/** Make the fields; what is typed is set at once, what is out of bounds never. */
export function settingsPanel(model) {
  const inputs = FIELDS.map(([name, label, bounds, hint]) => {
    const input = h("input", {
      class: "npu-input",
      type: "number",
      ...bounds,
      placeholder: DEFAULTS[name] ?? "none",
    });
    input.addEventListener("input", () => {
      if (input.validity.valid)
        set(model, name, input.value === "" ? undefined : Number(input.value));
    });
    return [name, input, field(label, input, hint)];
  });
  const show = () => {
    for (const [name, input] of inputs) {
      const value = String(model.get("settings")[name] ?? "");
      if (document.activeElement !== input) input.value = value;
    }
  };
  show();
  model.on("change:settings", show);
  const fields = inputs.map(([, , element]) => element);
  return h("div", { class: "npu-settings", role: "group", "aria-label": "Settings" }, fields);
}

function set(model, name, value) {
  const settings = { ...model.get("settings") };
  if (value === undefined) delete settings[name];
  else settings[name] = value;
  model.set("settings", settings);
  model.save_changes();
}
