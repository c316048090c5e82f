/** One message of a conversation on the page: its text, its actions, what it cost. */

import { insertButton } from "./cells.js";
import { button, copyButton, h, setText, toggle } from "./dom.js";
import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";
import { loadCard } from "./waiting.js";
import { facts, speed } from "./words.js";

/** Say how an answer ended, where that is worth a word. */
function ending(turn) {
  if (turn.role === "user") return "";
  if (turn.finish_reason === "stopped") return "stopped";
  if (turn.finish_reason === "length") return `stopped at ${turn.completion_tokens} tokens`;
  return turn.finish_reason ? "" : "unfinished";
}

/** A message; `actions` are those of the conversation. */
export class TurnView {
  constructor(turn, actions) {
    this.actions = actions;
    this.turn = turn;
    this.own = turn.role === "user";
    this.text = h("div", { class: "npu-text" });
    this.caret = h("span", { class: "npu-caret", "aria-hidden": "true" });
    this.load = loadCard();
    this.failure = h("div", { class: "npu-failure", role: "alert", hidden: true });
    this.bar = h("div", { class: "npu-actions" });
    this.print = h("span", { class: "npu-print" });
    this.who = h("div", { class: "npu-who" });
    const body = h(
      "div",
      { class: "npu-body" },
      this.load.element,
      this.text,
      this.failure,
      this.bar,
    );
    this.element = h("div", { class: `npu-turn npu-turn-${turn.role}` }, this.who, body);
    this.drawn = null;
  }

  /** Show `turn`; `live` while it comes in, `last` when no other follows. */
  update(turn, { live, last, busy, siblings, picked }) {
    this.turn = turn;
    this.element.classList.toggle("npu-last", last);
    setText(this.who, this.own ? "You" : facts("Answer", turn.model === picked ? "" : turn.model));
    this.draw(live);
    this.load.show(turn.model, live ? turn.waiting : null);
    this.fail(turn, busy);
    const state = JSON.stringify([
      live,
      last,
      busy,
      siblings.map((one) => one.id),
      turn.finish_reason,
    ]);
    if (state !== this.drawn) this.bar.replaceChildren(...this.buttons(live, last, busy, siblings));
    this.drawn = state;
    setText(this.print, live ? "" : facts(ending(turn), speed(turn)));
  }

  draw(live) {
    if (this.own) setText(this.text, this.turn.content);
    else renderMarkdown(this.text, this.turn.content, (block) => this.codeTools(block));
    toggle(this.text, this.own || live || this.turn.content !== "");
    const lines = this.text.querySelectorAll("p, li, pre > code, h3, h4, h5, h6");
    if (live && !this.turn.waiting) ([...lines].at(-1) ?? this.text).append(this.caret);
    else this.caret.remove();
  }

  codeTools(block) {
    return [insertButton("code", () => block.text)];
  }

  buttons(live, last, busy, siblings) {
    if (live) return [];
    const { turn, actions } = this;
    const off = {
      kind: "npu-quiet",
      disabled: busy,
      title: busy ? "An answer is coming in" : null,
    };
    const content = () => this.turn.content;
    const made = siblings.length > 1 ? [this.branches(siblings, busy)] : [];
    made.push(copyButton(content));
    if (this.own) {
      made.push(button("edit", "Edit and resend", () => this.edit(), off));
    } else {
      made.push(button("regenerate", "Regenerate", () => actions.regenerate(this.turn), off));
      made.push(insertButton("markdown", content));
      const cut = ["length", "stopped"].includes(turn.finish_reason) || !turn.finish_reason;
      if (last && cut && turn.content)
        made.push(button("play", "Continue", () => actions.goOn(this.turn), off));
    }
    return [...made, h("span", { class: "npu-space" }), this.print];
  }

  branches(siblings, busy) {
    const at = siblings.findIndex((one) => one.id === this.turn.id);
    const step = (name, label, to) =>
      button(name, label, () => this.actions.choose(siblings[to]), {
        kind: "npu-quiet",
        show: false,
        disabled: busy || !siblings[to],
      });
    const place = h("span", {}, `${at + 1} of ${siblings.length}`);
    const label = this.own ? "Versions of the message" : "Answers";
    return h(
      "span",
      { class: "npu-branches", role: "group", "aria-label": label },
      step("left", "Earlier", at - 1),
      place,
      step("right", "Later", at + 1),
    );
  }

  /** Turn the message into a field; Enter sends it as a branch, Esc leaves it as it was. */
  edit() {
    const area = h("textarea", {
      class: "npu-input",
      rows: "2",
      "aria-label": "Edit the message",
      value: this.turn.content,
    });
    const close = () => {
      editor.remove();
      toggle(this.text, true);
      toggle(this.bar, true);
    };
    const send = () => {
      close();
      if (area.value.trim()) this.actions.resend(this.turn.parent, area.value.trim());
    };
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
        this.bar.querySelector("button:nth-child(2)")?.focus();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    const editor = h(
      "div",
      { class: "npu-editor" },
      area,
      h(
        "div",
        { class: "npu-row" },
        button(null, "Send", send, { kind: "npu-main" }),
        button(null, "Cancel", close),
      ),
    );
    toggle(this.text, false);
    toggle(this.bar, false);
    this.text.before(editor);
    area.focus();
  }

  fail({ error, device, finish_reason: reason }, busy) {
    const failed = reason === "error" && error;
    toggle(this.failure, Boolean(failed));
    if (!failed || this.failure.dataset.shown === error.message + busy) return;
    this.failure.dataset.shown = error.message + busy;
    const kept = error.kept ? " The text above is kept." : "";
    const again = button("regenerate", "Try again", () => this.actions.regenerate(this.turn), {
      disabled: busy,
    });
    const onCpu =
      device && device !== "CPU"
        ? button(null, "Try on CPU", () => this.actions.onCpu(this.turn), { disabled: busy })
        : null;
    const words = h(
      "p",
      {},
      icon("cross", "npu-bad"),
      h("strong", {}, error.kept ? "The answer broke off: " : "No answer: "),
      error.message,
      kept,
    );
    this.failure.replaceChildren(
      words,
      h("div", { class: "npu-row" }, [again, onCpu].filter(Boolean)),
    );
  }
}
