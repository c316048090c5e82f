/** A chat with a model, in a cell. */

import { ChatHeader } from "./chat-header.js";
import { chatModels, firstChoice } from "./shared/catalogue.js";
import { Conversation } from "./shared/conversation.js";
import { announcer, button, h, region, setText, toggle } from "./shared/dom.js";
import { icon } from "./shared/icons.js";
import { Server } from "./shared/server.js";
import { settingsWords } from "./shared/settings.js";
import { TurnView } from "./shared/turn.js";
import { inLine } from "./shared/waiting.js";
import { speed } from "./shared/words.js";

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
    this.header = new ChatHeader(model, conversation, () => this.refresh());
    root.append(this.header.element, this.log(), this.liveLine(), this.composer());
    root.append(this.voice.element);
    root.addEventListener("keydown", (event) => this.key(event));
  }

  // Parts

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
    this.summary = button(null, "", () => this.header.openSettings(), { kind: "npu-link" });
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
    if (!this.model.get("model")) this.header.pick(firstChoice(this.models));
    this.updateModel();
  }

  updateModel() {
    const name = this.model.get("model");
    this.header.update(this.models);
    this.input.placeholder = name ? `Ask ${name}` : "There is no model yet: see npu.Models()";
    this.input.setAttribute("aria-label", this.input.placeholder);
    this.updateComposer();
  }

  updateComposer() {
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
    on("away", () => this.header.updateAway());
    on("back", () => this.refresh());
    on("answered", () => this.refresh());
    this.model.on("change:model", () => this.updateStructure());
    this.model.on("change:system", () => this.header.updateSystem());
    this.model.on("change:settings", () => this.updateComposer());
    this.model.on("change:draft", () => this.takeDraft());
    this.updateStructure();
    this.header.updateAway();
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
