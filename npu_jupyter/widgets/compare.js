/** Two models side by side on one prompt, in a cell. */

import { PairView, agrees, answered } from "./compare-pair.js";
import { CompareState, SIDES } from "./compare-state.js";
import { chatModels, fillPicker } from "./shared/catalogue.js";
import { announcer, button, h, region, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { Server } from "./shared/server.js";
import { settingsPanel, settingsWords } from "./shared/settings.js";
import { counted, facts } from "./shared/words.js";

class CompareView {
  constructor(root, model, state) {
    this.root = root;
    this.model = model;
    this.state = state;
    this.views = new Map();
    this.models = [];
    region(root, "Compare");
    root.classList.add("npu-compare");
    this.voice = announcer();
    this.settings = settingsPanel(model);
    this.settings.hidden = true;
    this.list = h("div", { class: "npu-pairs", role: "log", "aria-label": "Answers" });
    root.append(
      this.header(),
      this.settings,
      this.pickers(),
      this.list,
      this.composer(),
      this.voice.element,
    );
    root.addEventListener("keydown", (event) => event.key === "Escape" && this.state.stop());
  }

  header() {
    this.about = h("span", { class: "npu-faint" });
    this.strip = h("div", { class: "npu-strip", role: "toolbar", "aria-label": "Prompts" });
    this.strip.addEventListener("keydown", (event) => this.moveInStrip(event));
    this.tally = h("span", { class: "npu-number" });
    this.all = button("play", "Run all", () => this.state.runAll());
    this.mark = h("input", {
      type: "checkbox",
      role: "switch",
      checked: this.model.get("mark"),
      change: () => this.setMark(),
    });
    const settings = button(
      "settings",
      "Settings",
      () => toggle(this.settings, this.settings.hidden),
      { kind: "npu-quiet", show: false },
    );
    const title = h("span", { class: "npu-title" }, "Compare");
    const marks = h("label", { class: "npu-row npu-switch" }, "Mark differences", this.mark);
    return h(
      "div",
      { class: "npu-header" },
      title,
      this.about,
      h("span", { class: "npu-space" }),
      this.strip,
      this.tally,
      this.all,
      marks,
      settings,
    );
  }

  pickers() {
    this.picks = SIDES.map((side) => {
      const label = side === "left" ? "Left model" : "Right model";
      const picker = h("select", {
        class: "npu-picker",
        "aria-label": label,
        change: () => this.pick(side, picker.value),
      });
      const device = h("span", { class: "npu-badge", hidden: true });
      return {
        side,
        picker,
        device,
        element: h("div", { class: "npu-row" }, picker, h("span", { class: "npu-space" }), device),
      };
    });
    return h(
      "div",
      { class: "npu-columns npu-pick" },
      this.picks.map((pick) => pick.element),
    );
  }

  composer() {
    this.input = h("textarea", {
      class: "npu-input",
      rows: "1",
      placeholder: "Ask both models",
      "aria-label": "Ask both models",
      input: () => this.updateButtons(),
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    });
    this.sendButton = button(null, "Send to both", () => this.send(), { kind: "npu-main" });
    this.stop = button("stop", "Stop", () => this.state.stop(), { hidden: true });
    const hint = h(
      "span",
      { class: "npu-faint npu-hint" },
      "Enter to send, Shift+Enter for a new line",
    );
    return h(
      "div",
      { class: "npu-composer" },
      h("div", { class: "npu-ask" }, this.input, this.sendButton, this.stop),
      hint,
    );
  }

  send() {
    const text = this.input.value.trim();
    if (!text || this.state.live.size) return;
    this.input.value = "";
    this.follow = true;
    this.state.ask(text);
  }

  pick(side, name) {
    this.model.set(`${side}_model`, name);
    this.model.save_changes();
  }

  setMark() {
    this.model.set("mark", this.mark.checked);
    this.model.save_changes();
  }

  async refresh() {
    this.models = await chatModels(this.state.server).catch(() => this.models);
    const free = this.models.map((model) => model.id);
    for (const side of SIDES) {
      const other = this.model.get(side === "left" ? "right_model" : "left_model");
      if (!this.model.get(`${side}_model`))
        this.pick(side, free.find((id) => id !== other) ?? free[0] ?? "");
    }
    this.update();
  }

  update() {
    const { pairs } = this.state;
    for (const { side, picker, device } of this.picks) {
      const name = this.model.get(`${side}_model`);
      fillPicker(picker, this.models, name);
      const on = this.models.find((model) => model.id === name)?.npu.device;
      toggle(device, Boolean(on));
      device.replaceChildren(icon("device"), on ?? "");
    }
    setText(this.about, settingsWords(this.model.get("settings")));
    this.mark.checked = this.model.get("mark");
    this.root.classList.toggle("npu-marked", this.model.get("mark"));
    this.updatePairs(pairs);
    this.updateStrip(pairs);
    this.updateButtons();
  }

  updatePairs(pairs) {
    const known = new Set(pairs.map((pair) => pair.id));
    for (const [id, view] of this.views)
      if (!known.has(id)) (view.element.remove(), this.views.delete(id));
    pairs.forEach((pair, at) => {
      if (!this.views.has(pair.id)) {
        const view = new PairView(pair, this.state);
        this.views.set(pair.id, view);
        this.list.append(view.element);
      }
      this.views.get(pair.id).update(pair, at + 1, pairs.length);
    });
    this.list.setAttribute("aria-busy", String(this.state.live.size > 0));
    if (this.follow) this.list.scrollTop = this.list.scrollHeight;
    this.follow = this.follow && this.state.live.size > 0;
  }

  updateStrip(pairs) {
    const done = pairs.filter(answered);
    const agree = done.filter(agrees).length;
    setText(
      this.tally,
      done.length ? facts(`${agree} agree`, `${done.length - agree} differ`) : "",
    );
    toggle(this.strip, pairs.length > 1);
    const key = JSON.stringify(
      pairs.map((pair) => [pair.id, answered(pair) ? agrees(pair) : null]),
    );
    if (key === this.shownStrip) return;
    this.shownStrip = key;
    this.strip.replaceChildren(...pairs.map((pair, at) => this.stripButton(pair, at)));
  }

  stripButton(pair, at) {
    const state = !answered(pair)
      ? ["empty", "not answered"]
      : agrees(pair)
        ? ["equal", "agreed"]
        : ["unequal", "different"];
    const go = () => {
      this.views.get(pair.id).element.scrollIntoView({ block: "nearest" });
      this.views.get(pair.id).element.focus();
    };
    return button(state[0], `Prompt ${at + 1}, ${state[1]}`, go, {
      kind: "npu-quiet",
      show: false,
      tabindex: at ? "-1" : "0",
    });
  }

  moveInStrip(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = [...this.strip.children];
    const at = buttons.indexOf(document.activeElement);
    const next = buttons[(at + step + buttons.length) % buttons.length];
    buttons.forEach((one) => (one.tabIndex = one === next ? 0 : -1));
    next.focus();
  }

  updateButtons() {
    const busy = this.state.live.size > 0;
    const open = this.state.pairs.filter((pair) => !answered(pair)).length;
    this.sendButton.disabled = busy || !this.input.value.trim();
    toggle(this.stop, busy);
    toggle(this.all, open > 0 && !busy);
    if (open)
      setText(
        this.all.lastChild,
        open === this.state.pairs.length
          ? `Run ${counted(open, "prompt")}`
          : `Run the other ${open}`,
      );
  }

  start() {
    const update = () => this.update();
    const refresh = () => {
      this.voice.announce("Both have answered");
      this.refresh();
    };
    this.state.addEventListener("change", update);
    this.state.addEventListener("answered", refresh);
    for (const trait of ["left_model", "right_model", "settings", "mark"])
      this.model.on(`change:${trait}`, update);
    this.refresh();
    this.update();
    return () => {
      this.state.removeEventListener("change", update);
      this.state.removeEventListener("answered", refresh);
    };
  }
}

export default () => {
  let state;
  return {
    initialize({ model }) {
      state = new CompareState(model, new Server(model));
      return () => state.stop();
    },
    render({ model, el }) {
      return new CompareView(el, model, state).start();
    },
  };
};
