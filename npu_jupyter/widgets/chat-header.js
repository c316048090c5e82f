/** The head of a chat: which model, how much of its context is used, settings, system prompt. */

import { awayLine } from "./shared/away.js";
import { fillPicker } from "./shared/catalogue.js";
import { button, h, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { settingsPanel } from "./shared/settings.js";
import { count, timeOfDay } from "./shared/words.js";

export class ChatHeader {
  /** `opened` is called before somebody looks at the list of models. */
  constructor(model, conversation, opened) {
    this.model = model;
    this.conversation = conversation;
    this.away = awayLine(() => conversation.tryAgain());
    this.settings = settingsPanel(model);
    this.settings.hidden = true;
    this.element = h(
      "div",
      {},
      this.line(opened),
      this.away.element,
      this.settings,
      this.systemRow(),
    );
  }

  line(opened) {
    this.picker = h("select", {
      class: "npu-picker",
      "aria-label": "Model",
      change: () => this.pick(this.picker.value),
    });
    this.picker.addEventListener("pointerdown", opened);
    this.device = h("span", { class: "npu-badge", hidden: true });
    this.context = h("span", { class: "npu-context", hidden: true });
    const settings = button("settings", "Settings", () => this.openSettings(), {
      kind: "npu-quiet",
      show: false,
    });
    settings.setAttribute("aria-expanded", "false");
    this.settingsButton = settings;
    const begin = button("add", "New chat", () => this.conversation.begin(), {
      kind: "npu-quiet",
      show: false,
    });
    return h(
      "div",
      { class: "npu-header" },
      this.picker,
      this.device,
      h("span", { class: "npu-space" }),
      this.context,
      begin,
      settings,
    );
  }

  systemRow() {
    this.system = h("span", { class: "npu-system-text" });
    this.systemField = h("textarea", {
      class: "npu-input",
      rows: "2",
      "aria-label": "System prompt",
      hidden: true,
    });
    const edit = button("edit", "Edit the system prompt", () => this.editSystem(), {
      kind: "npu-quiet",
      show: false,
    });
    this.systemField.addEventListener("blur", () => this.saveSystem());
    this.systemField.addEventListener("keydown", (event) => {
      if (
        event.key === "Escape" ||
        (event.key === "Enter" && !event.shiftKey && !event.isComposing)
      ) {
        event.preventDefault();
        event.stopPropagation();
        edit.focus();
      }
    });
    return h(
      "div",
      { class: "npu-system" },
      h("span", { class: "npu-faint" }, "System prompt"),
      this.system,
      this.systemField,
      edit,
    );
  }

  pick(name) {
    this.model.set("model", name);
    this.model.save_changes();
  }

  openSettings() {
    toggle(this.settings, this.settings.hidden);
    this.settingsButton.setAttribute("aria-expanded", String(!this.settings.hidden));
    if (!this.settings.hidden) this.settings.querySelector("input").focus();
  }

  editSystem() {
    this.systemField.value = this.model.get("system");
    toggle(this.systemField, true);
    toggle(this.system, false);
    this.systemField.focus();
  }

  saveSystem() {
    toggle(this.systemField, false);
    toggle(this.system, true);
    this.model.set("system", this.systemField.value.trim());
    this.model.save_changes();
  }

  update(models) {
    const name = this.model.get("model");
    fillPicker(this.picker, models, name);
    const about = models.find((model) => model.id === name);
    const device =
      about?.npu.device ?? this.conversation.path.findLast((turn) => turn.model === name)?.device;
    toggle(this.device, Boolean(device));
    this.device.replaceChildren(icon("device"), device ?? "");
    this.updateContext(about);
    this.updateSystem();
  }

  updateContext(about) {
    const last = this.conversation.path.findLast((turn) => turn.prompt_tokens);
    const length = about?.npu.context_length;
    toggle(this.context, Boolean(last && length));
    if (!last || !length) return;
    const used = last.prompt_tokens + (last.completion_tokens ?? 0);
    const meter = h(
      "span",
      { class: "npu-meter", "aria-hidden": "true" },
      h("span", { style: `width:${Math.min(100, (100 * used) / length)}%` }),
    );
    this.context.replaceChildren(`Context ${count(used)} of ${count(length)}`, meter);
  }

  updateSystem() {
    setText(this.system, this.model.get("system") || "none");
    this.system.classList.toggle("npu-faint", !this.model.get("system"));
  }

  updateAway() {
    const { away } = this.conversation;
    const next = away ? `Next try in ${away.left} s.` : "";
    this.away.show(away && `Server away since ${timeOfDay(away.since)}. ${next}`);
  }
}
