/** A chat with a model, in a cell. */

import { chatModels, fillPicker, firstChoice } from "./shared/catalogue.js";
import { Conversation } from "./shared/conversation.js";
import { announcer, button, h, region, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { Server } from "./shared/server.js";
import { settingsPanel, settingsWords } from "./shared/settings.js";
import { TurnView } from "./shared/turn.js";
import { inLine } from "./shared/waiting.js";
import { count, speed, timeOfDay } from "./shared/words.js";

const STARTERS = ["Explain a traceback", "Write a pandas snippet"];
const NEAR_END_PX = 40;

/** The chat on the page; the conversation is shared by all views of a widget. */
class ChatView {
  constructor(root, model, conversation, server) {
    this.root = root;
    this.model = model;
    this.conversation = conversation;
    this.server = server;
    this.models = [];
    this.views = new Map();
    region(root, "Chat");
    root.classList.add("npu-chat");
    this.voice = announcer();
    root.append(this.header(), this.awayLine(), this.panel(), this.systemRow(), this.log());
    root.append(this.liveLine(), this.composer(), this.voice.element);
    root.addEventListener("keydown", (event) => this.key(event));
  }

  // Parts

  header() {
    this.picker = h("select", {
      class: "npu-picker",
      "aria-label": "Model",
      change: () => this.pick(this.picker.value),
    });
    this.picker.addEventListener("pointerdown", () => this.refresh());
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

  awayLine() {
    this.awayWords = h("span");
    const now = button(null, "Try now", () => this.conversation.tryAgain(), { kind: "npu-link" });
    this.away = h(
      "div",
      { class: "npu-away", role: "status", hidden: true },
      icon("away", "npu-warn"),
      this.awayWords,
      h("span", { class: "npu-space" }),
      now,
    );
    return this.away;
  }

  panel() {
    this.settings = settingsPanel(this.model);
    this.settings.hidden = true;
    return this.settings;
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

  log() {
    this.turns = h("div", {
      class: "npu-turns",
      role: "log",
      "aria-label": "Conversation",
      tabindex: "0",
    });
    this.empty = h("div", { class: "npu-empty" }, this.emptyWords(), this.starters());
    this.toEnd = button("down", "To the end", () => this.scrollToEnd(), {
      kind: "npu-to-end",
      hidden: true,
    });
    this.turns.append(this.empty);
    this.turns.addEventListener("scroll", () => toggle(this.toEnd, !this.atEnd()), {
      passive: true,
    });
    return h("div", { class: "npu-log" }, this.turns, this.toEnd);
  }

  emptyWords() {
    const kept = h("code", {}, "chat.messages");
    return h(
      "p",
      {},
      "Write a message to start. The conversation stays in ",
      kept,
      " and comes back when the page is reloaded.",
    );
  }

  starters() {
    const begin = (words) => {
      this.input.value = `${words}: `;
      this.draft();
      this.input.focus();
    };
    const buttons = STARTERS.map((words) => button(null, words, () => begin(words)));
    return h("div", {}, h("p", {}, "Or begin with"), h("div", { class: "npu-row" }, buttons));
  }

  liveLine() {
    this.liveWords = h("span", { class: "npu-live-words" });
    this.stopWord = h("span", {}, "Stop");
    const stop = h(
      "button",
      { type: "button", class: "npu-button", click: () => this.conversation.stop() },
      icon("stop", "npu-filled"),
      this.stopWord,
    );
    const key = h("kbd", {}, "Esc");
    this.live = h(
      "div",
      { class: "npu-live", hidden: true },
      h("span", { class: "npu-dot" }),
      this.liveWords,
      h("span", { class: "npu-space" }),
      key,
      stop,
    );
    return this.live;
  }

  composer() {
    this.input = h("textarea", {
      class: "npu-input",
      rows: "2",
      value: this.model.get("draft"),
      input: () => this.draft(),
    });
    this.input.addEventListener("keydown", (event) => this.inputKey(event));
    this.sendButton = button(null, "Send", () => this.send(), { kind: "npu-main" });
    this.summary = button(null, "", () => this.openSettings(), { kind: "npu-link" });
    const hint = h(
      "span",
      { class: "npu-faint npu-hint" },
      "Enter to send, Shift+Enter for a new line",
    );
    const row = h(
      "div",
      { class: "npu-row" },
      hint,
      h("span", { class: "npu-space" }),
      this.summary,
      this.sendButton,
    );
    return h("div", { class: "npu-composer" }, this.input, row);
  }

  // What the user does

  key(event) {
    if (event.key === "Escape" && this.conversation.live) {
      event.preventDefault();
      this.conversation.stop();
    }
  }

  inputKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.send();
    } else if (event.key === "ArrowUp" && !this.input.value && !this.conversation.live) {
      const last = this.conversation.path.findLast((turn) => turn.role === "user");
      if (last) {
        event.preventDefault();
        this.views.get(last.id).edit();
      }
    }
  }

  draft() {
    clearTimeout(this.drafting);
    this.drafting = setTimeout(() => this.saveDraft(), 500);
    this.updateComposer();
  }

  saveDraft() {
    clearTimeout(this.drafting);
    this.model.set("draft", this.input.value);
    this.model.save_changes();
  }

  send() {
    const text = this.input.value.trim();
    if (!text || this.conversation.live || !this.model.get("model")) return;
    this.input.value = "";
    this.saveDraft();
    this.follow = true;
    this.conversation.send(text);
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

  /** Load the model on the CPU, and ask once more. */
  async onCpu(turn) {
    await this.server
      .ask("POST", "v1/models/load", { name: turn.model, device: "CPU" })
      .catch(() => {});
    this.conversation.answer(turn.parent);
  }

  // What is shown

  async refresh() {
    try {
      this.models = await chatModels(this.server);
    } catch (error) {
      if (error.away) this.conversation.lost();
      return;
    }
    if (!this.model.get("model")) this.pick(firstChoice(this.models));
    this.updateModel();
  }

  updateModel() {
    const name = this.model.get("model");
    fillPicker(this.picker, this.models, name);
    const about = this.models.find((model) => model.id === name);
    const device =
      about?.npu.device ?? this.conversation.path.findLast((turn) => turn.model === name)?.device;
    toggle(this.device, Boolean(device));
    this.device.replaceChildren(icon("device"), device ?? "");
    this.input.placeholder = name ? `Ask ${name}` : "There is no model yet: see npu.Models()";
    this.input.setAttribute("aria-label", this.input.placeholder);
    this.updateContext(about);
    this.updateComposer();
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

  updateComposer() {
    setText(this.system, this.model.get("system") || "none");
    this.system.classList.toggle("npu-faint", !this.model.get("system"));
    setText(this.summary.firstChild, settingsWords(this.model.get("settings")));
    const live = Boolean(this.conversation.live);
    this.sendButton.disabled = live || !this.input.value.trim() || !this.model.get("model");
    this.sendButton.title = live ? "An answer is coming in" : "";
  }

  /** Draw the messages of the chosen branch. */
  updateStructure() {
    const { path, live } = this.conversation;
    const shown = new Set(path.map((turn) => turn.id));
    for (const [id, view] of this.views) {
      if (!shown.has(id)) {
        view.element.remove();
        this.views.delete(id);
      }
    }
    path.forEach((turn) => this.viewOf(turn));
    path.forEach((turn) => this.updateTurn(turn, path));
    toggle(this.empty, !path.length);
    this.turns.setAttribute("aria-busy", String(Boolean(live)));
    this.updateLive();
    this.updateModel();
    this.keepEnd();
  }

  viewOf(turn) {
    if (!this.views.has(turn.id)) {
      const actions = {
        regenerate: (answer) => this.conversation.answer(answer.parent),
        resend: (parent, text) => this.conversation.resend(parent, text),
        goOn: (answer) => this.conversation.goOn(answer),
        choose: (branch) => this.conversation.choose(branch),
        onCpu: (answer) => this.onCpu(answer),
      };
      const view = new TurnView(turn, actions);
      this.views.set(turn.id, view);
      this.turns.append(view.element);
    }
    return this.views.get(turn.id);
  }

  updateTurn(turn, path) {
    const live = this.conversation.live?.turn;
    this.views.get(turn.id)?.update(turn, {
      live: turn.id === live?.id,
      last: turn === path.at(-1),
      busy: Boolean(live),
      siblings: this.conversation.siblings(turn),
      picked: this.model.get("model"),
    });
  }

  updateDelta() {
    const turn = this.conversation.live?.turn;
    if (!turn) return;
    this.updateTurn(turn, this.conversation.path);
    this.updateLive();
    this.keepEnd();
  }

  updateLive() {
    const turn = this.conversation.live?.turn;
    toggle(this.live, Boolean(turn));
    if (!turn) return;
    const line = inLine(turn.waiting);
    const wait =
      line || (turn.waiting?.kind === "loading" ? "Starts when the model is loaded" : "");
    setText(this.liveWords, wait || speed(turn) || "Reading the question");
    setText(this.stopWord, line ? "Leave the line" : "Stop");
    this.live.classList.toggle("npu-live-waits", Boolean(wait));
    if (wait) this.voice.announce(wait);
  }

  updateAway() {
    const { away } = this.conversation;
    toggle(this.away, Boolean(away));
    if (away)
      setText(
        this.awayWords,
        `Server away since ${timeOfDay(away.since)}. Next try in ${away.left} s.`,
      );
  }

  atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.turns;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  /** Follow the end only while the reader is there. */
  keepEnd() {
    if (this.follow || this.wasAtEnd !== false) this.turns.scrollTop = this.turns.scrollHeight;
    this.follow = false;
  }

  scrollToEnd() {
    this.turns.scrollTop = this.turns.scrollHeight;
    this.turns.focus();
  }

  /** Show everything and follow what changes until the view is taken away. */
  start() {
    const gone = new AbortController();
    const on = (what, action) =>
      this.conversation.addEventListener(what, action, { signal: gone.signal });
    this.turns.addEventListener("scroll", () => (this.wasAtEnd = this.atEnd()), { passive: true });
    on("structure", () => this.updateStructure());
    on("delta", () => this.updateDelta());
    on("away", () => this.updateAway());
    on("back", () => this.refresh());
    on("answered", () => this.refresh());
    this.model.on("change:model", () => this.updateStructure());
    this.model.on("change:system", () => this.updateComposer());
    this.model.on("change:settings", () => this.updateComposer());
    this.model.on("change:draft", () => this.takeDraft());
    this.updateStructure();
    this.updateAway();
    this.refresh();
    return () => gone.abort();
  }

  takeDraft() {
    if (document.activeElement !== this.input) this.input.value = this.model.get("draft");
    this.updateComposer();
  }
}

export default () => {
  let server;
  let conversation;
  return {
    initialize({ model }) {
      server = new Server(model);
      conversation = new Conversation(model, server);
      return () => conversation.stop();
    },
    render({ model, el }) {
      return new ChatView(el, model, conversation, server).start();
    },
  };
};
