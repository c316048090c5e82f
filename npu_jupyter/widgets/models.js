/** The models and devices of the server, in a cell. */

import { AddModel } from "./models-add.js";
import { ModelRow } from "./models-row.js";
import { ModelsState } from "./models-state.js";
import { awayLine } from "./shared/away.js";
import { announcer, button, h, region, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { Server } from "./shared/server.js";
import { bytes, count, facts, timeOfDay } from "./shared/words.js";

const COLUMNS = [
  ["model", "Model", (model) => model.id.toLowerCase()],
  ["type", "Type", (model) => model.npu.type],
  ["state", "State", (model, state) => state.statusOf(model)],
  ["device", "Device", (model) => model.npu.device ?? ""],
  ["memory", "Memory", (model, state) => -(state.loaded.get(model.id)?.memory_bytes ?? 0)],
  ["speed", "tok/s", (model, state) => -(state.speeds.get(model.id)?.speed ?? 0)],
  [
    "requests",
    "Run · wait",
    (model, state) => -(state.loaded.get(model.id)?.requests_running ?? -1),
  ],
  ["used", "Last use", (model, state) => -(state.loaded.get(model.id)?.last_used ?? 0)],
];

class ModelsView {
  constructor(root, state) {
    this.root = root;
    this.state = state;
    this.rows = new Map();
    this.sorted = ["model", 1];
    region(root, "Models");
    root.classList.add("npu-models");
    this.voice = announcer();
    this.away = awayLine(() => state.watch.now());
    this.add = new AddModel(state);
    root.append(
      this.header(),
      this.away.element,
      this.deviceCards(),
      this.table(),
      this.add.element,
      this.voice.element,
    );
  }

  header() {
    this.summary = h("span", { class: "npu-faint npu-number" });
    this.live = h("span", { class: "npu-row npu-faint" });
    this.filter = h("input", {
      class: "npu-input npu-filter",
      type: "search",
      placeholder: "Filter by name or state",
      "aria-label": "Filter by name or state",
      input: () => this.update(),
    });
    const title = h("span", { class: "npu-title" }, "Models");
    return h(
      "div",
      { class: "npu-header" },
      title,
      this.summary,
      h("span", { class: "npu-space" }),
      this.live,
      this.filter,
    );
  }

  deviceCards() {
    this.devices = h("div", { class: "npu-devices", role: "list", "aria-label": "Devices" });
    return this.devices;
  }

  table() {
    this.heads = new Map();
    const heads = COLUMNS.map(([key, label]) => {
      const head = h(
        "th",
        { scope: "col", class: `npu-col-${key}` },
        button(null, label, () => this.sort(key), { kind: "npu-quiet npu-sort" }),
      );
      this.heads.set(key, head);
      return head;
    });
    this.body = h("tbody");
    this.empty = h(
      "div",
      { class: "npu-empty-models", hidden: true },
      h("p", {}, "No models yet."),
      this.add.suggest(),
    );
    const head = h(
      "thead",
      {},
      h("tr", {}, heads, h("th", {}, h("span", { class: "npu-unseen" }, "Actions"))),
    );
    return h("div", {}, h("table", { class: "npu-model-table" }, head, this.body), this.empty);
  }

  sort(key) {
    const [before, direction] = this.sorted;
    this.sorted = [key, before === key ? -direction : 1];
    this.update();
  }

  update() {
    const { state } = this;
    const loaded = [...state.loaded.values()];
    const memory = loaded.reduce((sum, model) => sum + model.memory_bytes, 0);
    setText(
      this.summary,
      facts(
        `${count(state.models.length)} registered`,
        `${count(loaded.length)} loaded`,
        memory ? `${bytes(memory)} in memory` : "",
      ),
    );
    this.updateAway();
    this.updateDevices(memory);
    this.updateRows();
    this.add.update();
    toggle(this.empty, !state.models.length && !state.watch.away && state.devices.length > 0);
    for (const [name, load] of state.loads) this.voice.announce(`Loading ${name}: ${load.stage}`);
  }

  updateAway() {
    const { away } = this.state.watch;
    this.away.show(
      away && `Server away since ${timeOfDay(away.since)}. Trying every ${away.wait} s.`,
    );
    const word = away ? `Stale since ${timeOfDay(away.since)}` : "Live";
    if (this.live.textContent !== word)
      this.live.replaceChildren(
        h("span", { class: away ? "npu-dot npu-dot-off" : "npu-dot" }),
        word,
      );
  }

  updateDevices() {
    const key = JSON.stringify([
      this.state.devices,
      [...this.state.loaded.values()].map((one) => [one.device, one.memory_bytes >> 24]),
    ]);
    if (key === this.shownDevices) return;
    this.shownDevices = key;
    this.devices.replaceChildren(...this.state.devices.map((device) => this.deviceCard(device)));
  }

  deviceCard(device) {
    const here = [...this.state.loaded.values()].filter((model) => model.device === device.name);
    const used = here.reduce((sum, model) => sum + model.memory_bytes, 0);
    const sign = device.available
      ? null
      : h("span", { class: "npu-row" }, icon("triangle", "npu-warn"), "can’t be used yet");
    const head = h(
      "div",
      { class: "npu-row" },
      icon("device"),
      h("strong", {}, device.name),
      h("span", { class: "npu-space" }),
      sign,
    );
    const about = facts(device.full_name, device.driver ? `driver ${device.driver}` : "");
    const body = device.available
      ? this.deviceMemory(device, used, here.length)
      : h("p", {}, device.advice);
    return h(
      "div",
      { class: "npu-device", role: "listitem" },
      head,
      h("div", { class: "npu-faint" }, about),
      body,
    );
  }

  deviceMemory(device, used, number) {
    const total = device.memory_bytes;
    const words = facts(
      used ? `${bytes(used)} in ${number === 1 ? "1 model" : `${number} models`}` : "no model",
      total ? `${bytes(total)} in all` : "",
    );
    const meter = total
      ? h(
          "div",
          { class: "npu-bar", "aria-hidden": "true" },
          h("div", { class: "npu-bar-fill", style: `width:${(100 * used) / total}%` }),
        )
      : null;
    return h(
      "div",
      { class: "npu-device-memory" },
      meter,
      h("span", { class: "npu-number" }, words),
    );
  }

  updateRows() {
    const shown = this.ordered();
    const names = new Set(shown.map((model) => model.id));
    for (const [name, row] of this.rows) {
      if (!names.has(name)) {
        row.element.remove();
        row.second.remove();
        this.rows.delete(name);
      }
    }
    let at = this.body.firstChild;
    for (const model of shown) {
      if (!this.rows.has(model.id)) this.rows.set(model.id, new ModelRow(model, this.state));
      const row = this.rows.get(model.id);
      if (at === row.element) at = row.second.nextSibling;
      else (this.body.insertBefore(row.element, at), row.element.after(row.second));
      row.update(model);
    }
    const [key, direction] = this.sorted;
    for (const [column, head] of this.heads) {
      head.setAttribute(
        "aria-sort",
        column !== key ? "none" : direction > 0 ? "ascending" : "descending",
      );
    }
  }

  /** The models that the filter lets through, sorted, adapters under their base. */
  ordered() {
    const [key, direction] = this.sorted;
    const value = COLUMNS.find(([column]) => column === key)[2];
    const wanted = this.filter.value.trim().toLowerCase();
    const kept = this.state.models.filter((model) =>
      `${model.id} ${this.state.statusOf(model)}`.toLowerCase().includes(wanted),
    );
    const compare = (one, other) => {
      const [a, b] = [value(one, this.state), value(other, this.state)];
      return direction * (a < b ? -1 : a > b ? 1 : 0) || one.id.localeCompare(other.id);
    };
    const names = new Set(kept.map((model) => model.id));
    const bases = kept.filter((model) => !names.has(model.parent)).sort(compare);
    return bases.flatMap((base) => [
      base,
      ...kept.filter((model) => model.parent === base.id).sort(compare),
    ]);
  }

  start() {
    const update = () => this.update();
    this.state.addEventListener("change", update);
    const leave = this.state.watch.follow(this.root);
    this.update();
    return () => {
      leave();
      this.state.removeEventListener("change", update);
    };
  }
}

export default () => {
  let state;
  return {
    initialize({ model }) {
      state = new ModelsState(new Server(model));
    },
    render({ el }) {
      return new ModelsView(el, state).start();
    },
  };
};
