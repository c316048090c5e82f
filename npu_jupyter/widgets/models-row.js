/** One model in the table: its facts, one main action, and what it says below. */

import { button, h, progressBar, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { loadingWords } from "./shared/waiting.js";
import { UNKNOWN, ago, bytes, counted, shortened } from "./shared/words.js";

const SHAPES = {
  registered: ["empty", ""],
  loading: ["ring", "npu-brand"],
  loaded: ["tick", "npu-good"],
  unloading: ["ring", "npu-brand"],
  sleeping: ["moon", ""],
  failed: ["cross", "npu-bad"],
};

export class ModelRow {
  constructor(model, state) {
    this.state = state;
    this.name = model.id;
    this.shape = h("span", { class: "npu-state-shape" });
    this.word = h("span");
    this.cells = Object.fromEntries(
      ["type", "device", "memory", "speed", "requests", "used"].map((key) => [
        key,
        h("td", { class: `npu-col-${key}` }),
      ]),
    );
    this.action = button(null, "", () => this.act(), { kind: "npu-action" });
    this.pin = button("pin", "Keep loaded", () => this.togglePin(), {
      kind: "npu-quiet",
      show: false,
    });
    this.remove = button("close", "Remove from this machine", () => this.askRemove(), {
      kind: "npu-quiet",
      show: false,
    });
    const actions = h("td", { class: "npu-row-actions" }, this.pin, this.action, this.remove);
    const { type, ...others } = this.cells;
    const stateCell = h("td", { class: "npu-state" }, this.shape, this.word);
    this.element = h(
      "tr",
      {},
      this.heading(model),
      type,
      stateCell,
      ...Object.values(others),
      actions,
    );
    this.below = h("td", { colspan: "9" });
    this.second = h("tr", { class: "npu-second", hidden: true }, this.below);
    this.asks = null;
  }

  heading(model) {
    if (!model.parent) return h("th", { scope: "row", title: model.id }, shortened(model.id, 28));
    const tail = model.id.startsWith(`${model.parent}:`)
      ? model.id.slice(model.parent.length)
      : model.id;
    const whole = h("span", { class: "npu-unseen" }, `${model.id}, adapter of ${model.parent}`);
    return h(
      "th",
      { scope: "row", class: "npu-adapter" },
      icon("adapter"),
      h("span", { "aria-hidden": "true" }, tail),
      whole,
    );
  }

  update(model) {
    const status = this.state.statusOf(model);
    const live = this.state.loaded.get(model.id);
    const load = this.state.loads.get(model.id);
    this.model = model;
    this.status = status;
    if (this.shape.dataset.status !== status) {
      this.shape.dataset.status = status;
      this.shape.replaceChildren(icon(...(SHAPES[status] ?? ["empty", ""])));
    }
    setText(this.word, load ? loadingWords({ ...load, eta: null }) : status);
    setText(
      this.cells.type,
      model.parent ? "adapter" : ({ llm: "chat" }[model.npu.type] ?? model.npu.type),
    );
    setText(this.cells.device, model.npu.device ?? UNKNOWN);
    setText(this.cells.memory, bytes(live?.memory_bytes || model.npu.size_bytes));
    this.cells.memory.classList.toggle("npu-faint", !live);
    this.cells.memory.title = live ? "in memory" : "on disk";
    setText(this.cells.speed, this.state.speeds.get(model.id)?.speed?.toFixed(1) ?? UNKNOWN);
    setText(
      this.cells.requests,
      live ? `${live.requests_running} · ${live.requests_waiting}` : UNKNOWN,
    );
    setText(this.cells.used, ago(live?.last_used));
    this.updateActions(live);
    this.updateBelow(load);
  }

  updateActions(live) {
    const words = { loaded: "Unload", loading: "Cancel" };
    setText(this.action.firstChild, words[this.status] ?? "Load");
    this.action.setAttribute("aria-label", `${this.action.textContent} ${this.name}`);
    this.action.disabled = this.status === "unloading";
    this.pin.disabled = !live;
    this.pin.title = live
      ? live.pinned
        ? "Kept loaded: may be unloaded again"
        : "Keep loaded"
      : "Keep loaded: load it first";
    this.pin.setAttribute("aria-pressed", String(Boolean(live?.pinned)));
    this.remove.disabled = this.status === "unloading";
  }

  act() {
    const live = this.state.loaded.get(this.name);
    const busy = (live?.requests_running ?? 0) + (live?.requests_waiting ?? 0);
    if (this.status === "loading") this.state.unload(this.name);
    else if (this.status !== "loaded") this.state.load(this.name);
    else if (busy)
      this.ask(`${counted(busy, "request")} would end.`, "Unload", () =>
        this.state.unload(this.name, true),
      );
    else this.state.unload(this.name);
  }

  togglePin() {
    this.state.pin(this.name, this.pin.getAttribute("aria-pressed") !== "true");
  }

  askRemove() {
    const size = bytes(this.model.npu.size_bytes);
    this.ask(`${this.name} and its files, ${size}, will be deleted.`, "Remove", () =>
      this.state.remove(this.name),
    );
  }

  /** Ask below the row before something that cannot be taken back. */
  ask(question, word, action) {
    const close = () => {
      this.asks = null;
      this.updateBelow();
      this.action.focus();
    };
    const yes = () => {
      close();
      action();
    };
    const no = button(null, "Keep", close);
    this.asks = h(
      "div",
      { class: "npu-row", role: "alertdialog", "aria-label": question },
      question,
      button(null, word, yes, { kind: "npu-main" }),
      no,
    );
    this.asks.addEventListener("keydown", (event) => event.key === "Escape" && close());
    this.updateBelow();
    no.focus();
  }

  updateBelow(load) {
    const failure = this.state.failures.get(this.name);
    const shown = this.asks ? "asks" : load ? "load" : failure ? `failure ${failure}` : "";
    toggle(this.second, Boolean(shown));
    if (shown !== this.shown) {
      this.shown = shown;
      if (this.asks) this.below.replaceChildren(this.asks);
      else if (load) this.below.replaceChildren(this.loadLine());
      else if (failure)
        this.below.replaceChildren(
          h("div", { role: "alert" }, icon("triangle", "npu-warn"), " ", failure),
        );
    }
    if (load) {
      const words = loadingWords(load);
      setText(this.loadWords, words);
      this.showLoad(load.percent, words);
    }
  }

  loadLine() {
    const { bar, show } = progressBar(`Loading ${this.name}`);
    this.showLoad = show;
    this.loadWords = h("span", { class: "npu-faint" });
    return h("div", { class: "npu-row npu-load-line" }, bar, this.loadWords);
  }
}
