/** Which models there are, and a picker for them. */

import { h } from "./dom.js";
import { shortened } from "./words.js";

const GROUPS = [
  ["loaded", "Loaded"],
  ["loading", "Loading"],
  ["sleeping", "Sleeping"],
  ["registered", "Not loaded"],
  ["unloading", "Unloading"],
  ["failed", "Failed"],
];

/** Give the models that answer chats, as the server lists them. */
export async function chatModels(server) {
  const { data } = await server.ask("GET", "v1/models");
  return data.filter((model) => model.npu.type === "llm");
}

/** Give the model to begin with: one that is loaded, else the first. */
export function firstChoice(models) {
  return (models.find((model) => model.npu.status === "loaded") ?? models[0])?.id ?? "";
}

/** Say what a model is, beside its name. */
export function kindOf(model) {
  return model?.parent ? `adapter of ${model.parent}` : "";
}

/** Fill a select with models, grouped by state; a name that is not registered stays choosable. */
export function fillPicker(select, models, chosen) {
  const groups = GROUPS.map(([status, label]) => {
    const inside = models.filter((model) => model.npu.status === status);
    const options = inside.map((model) => option(model.id, kindOf(model)));
    return inside.length ? h("optgroup", { label }, options) : null;
  });
  const unknown = chosen && !models.some((model) => model.id === chosen);
  select.replaceChildren(...groups.filter(Boolean));
  if (unknown) select.prepend(option(chosen, models.length ? "not registered" : ""));
  select.value = chosen;
  select.title = chosen;
}

function option(id, extra) {
  return h("option", { value: id }, extra ? `${shortened(id)} · ${extra}` : shortened(id));
}
